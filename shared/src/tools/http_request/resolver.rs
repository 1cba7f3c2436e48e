//! Names into addresses, each of which is checked before anything connects to it.
//!
//! The client connects to the very addresses that were checked, so that a name that leads elsewhere a moment later gains
//! nothing; and as the client keeps no connection, every request is checked anew.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::reach::Reach;

/// Resolves names.
#[async_trait]
pub trait Resolver: Send + Sync {
    /// All addresses of the host.
    async fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// Resolves names as this machine does.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolver for SystemResolver {
    async fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let host = (host.to_owned(), 0);
        let resolved =
            tokio::task::spawn_blocking(move || host.to_socket_addrs()).await.map_err(io::Error::other)??;
        Ok(resolved.map(|address| address.ip()).collect())
    }
}

/// Has the client connect only to addresses within reach. One address out of reach is enough to refuse a host.
pub(super) struct CheckedResolver {
    pub(super) resolver: Arc<dyn Resolver>,
    pub(super) reach: Reach,
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (resolver, reach) = (Arc::clone(&self.resolver), self.reach);
        Box::pin(async move {
            let addresses = resolver.addresses(name.as_str()).await.map_err(Unresolved::Failed)?;
            if addresses.is_empty() {
                return Err(Unresolved::Empty.into());
            }
            if !addresses.iter().all(|address| reach.allows(*address)) {
                return Err(OutOfReach.into());
            }
            // The client puts the URL's port in the place of 0.
            let checked: Addrs = Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(checked)
        })
    }
}

/// A host has an address that requests must not go to. Which one is not for a model to know.
#[derive(Debug, thiserror::Error)]
#[error("the host has an address out of reach")]
pub(super) struct OutOfReach;

/// A host's name has no addresses for now.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unresolved {
    /// It could not be resolved.
    #[error("the host's name could not be resolved")]
    Failed(#[source] io::Error),
    /// It has none.
    #[error("the host's name has no address")]
    Empty,
}

/// Whether an error of this type is among the causes.
pub(super) fn is_caused_by<E: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| error.source()).any(<dyn Error>::is::<E>)
}
