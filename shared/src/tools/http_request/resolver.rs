//! Resolves names to addresses. Each address is checked before anything connects to it.
//!
//! The client connects to the addresses that were checked. So it does not help an attacker if the
//! name leads elsewhere a moment later (DNS rebinding). The client reuses no connection, so every
//! request is checked.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

use super::reach::Reach;

/// Resolves names.
#[async_trait]
pub trait Resolver: Send + Sync {
    /// All addresses of the host.
    async fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The most lookups at once. Each holds a thread, for half a minute if the name server is silent. A
/// lookup can't be stopped, even if its request is over.
const MOST_LOOKUPS: usize = 32;

/// Resolves names as this machine does, 32 at once.
#[derive(Debug, Clone)]
pub struct SystemResolver {
    look_up: fn(&str) -> io::Result<Vec<IpAddr>>,
    lookups: Arc<Semaphore>,
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self::looking_up(|host| {
            Ok((host, 0)
                .to_socket_addrs()?
                .map(|address| address.ip())
                .collect())
        })
    }
}

impl SystemResolver {
    fn looking_up(look_up: fn(&str) -> io::Result<Vec<IpAddr>>) -> Self {
        Self {
            look_up,
            lookups: Arc::new(Semaphore::new(MOST_LOOKUPS)),
        }
    }
}

#[async_trait]
impl Resolver for SystemResolver {
    async fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let permit = Arc::clone(&self.lookups)
            .acquire_owned()
            .await
            .map_err(io::Error::other)?;
        let (look_up, host) = (self.look_up, host.to_owned());
        let work = move || {
            // Held until the thread is free, even if the caller is gone before.
            let _permit = permit;
            look_up(&host)
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(io::Error::other)?
    }
}

/// Lets the client connect only to allowed addresses. One forbidden address is enough to refuse a
/// host.
pub(super) struct CheckedResolver {
    pub(super) resolver: Arc<dyn Resolver>,
    pub(super) reach: Reach,
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (resolver, reach) = (Arc::clone(&self.resolver), self.reach);
        Box::pin(async move {
            let addresses = resolver
                .addresses(name.as_str())
                .await
                .map_err(Unresolved::Failed)?;
            if addresses.is_empty() {
                return Err(Unresolved::Empty.into());
            }
            if !addresses.iter().all(|address| reach.allows(*address)) {
                return Err(OutOfReach.into());
            }
            // The client replaces the port 0 by the URL's port.
            let checked: Addrs = Box::new(
                addresses
                    .into_iter()
                    .map(|address| SocketAddr::new(address, 0)),
            );
            Ok(checked)
        })
    }
}

/// A host has an address that requests must not go to. The model must not learn the address.
#[derive(Debug, thiserror::Error)]
#[error("the host has a forbidden address")]
pub(super) struct OutOfReach;

/// A host's name has no addresses for now.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unresolved {
    /// The lookup failed.
    #[error("the host's name could not be resolved")]
    Failed(#[source] io::Error),
    /// The name has no address.
    #[error("the host's name has no address")]
    Empty,
}

/// Whether an error of this type is among the causes.
pub(super) fn is_caused_by<E: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| error.source()).any(<dyn Error>::is::<E>)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::sync::{Condvar, Mutex};

    use futures::future::join_all;

    use super::*;

    /// A name server that is silent until the test lets it answer.
    struct Silent {
        lookups: AtomicUsize,
        answers: Mutex<bool>,
        released: Condvar,
    }

    static SERVER: Silent = Silent {
        lookups: AtomicUsize::new(0),
        answers: Mutex::new(false),
        released: Condvar::new(),
    };

    #[expect(clippy::unnecessary_wraps, reason = "it has the form of the system's")]
    fn query_server(_host: &str) -> io::Result<Vec<IpAddr>> {
        SERVER.lookups.fetch_add(1, SeqCst);
        let answers = SERVER.answers.lock().unwrap();
        let _answers = SERVER
            .released
            .wait_while(answers, |answers| !*answers)
            .unwrap();
        Ok(Vec::new())
    }

    #[tokio::test]
    async fn a_silent_server_of_names_holds_so_many_threads_and_no_more() {
        let resolver = SystemResolver::looking_up(query_server);
        for _round in 0..2 {
            let many = join_all((0..MOST_LOOKUPS * 2).map(|_| resolver.addresses("example.com")));
            let all_asked = async {
                while SERVER.lookups.load(SeqCst) < MOST_LOOKUPS {
                    tokio::task::yield_now().await;
                }
            };
            // Their requests end; the lookups don't.
            tokio::select! {
                biased;
                _ = many => panic!("nobody answers"),
                () = all_asked => {}
            }
            assert_eq!(
                (
                    resolver.lookups.available_permits(),
                    SERVER.lookups.load(SeqCst)
                ),
                (0, MOST_LOOKUPS)
            );
        }
        *SERVER.answers.lock().unwrap() = true;
        SERVER.released.notify_all();
        assert_eq!(
            resolver.addresses("example.com").await.unwrap(),
            [] as [IpAddr; 0]
        );
    }
}
