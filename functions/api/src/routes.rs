//! The list of all routes. The router and the OpenAPI document are made of it, so that no route is without
//! its operation.

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodFilter, on};
use utoipa::__dev::SchemaReferences;
use utoipa::Path;
use utoipa::openapi::HttpMethod;

use crate::agents::{self, aliases, versions};
use crate::openapi::Inputs;
use crate::tasks::{self, batch, bulk, execute, lifecycle, texts};
use crate::{Api, cache, dead_letters, health, keys, models, openapi, providers, tenants, usage};

/// The prefix of the routes that need an API key.
pub(crate) const V1: &str = "/v1";

/// What the list of routes is made into.
pub(crate) trait Routes: Sized {
    /// Adds the route of the operation `P`, which this handler answers.
    fn add<P, H, T>(self, handler: H) -> Self
    where
        P: Path + SchemaReferences,
        H: Handler<T, Api>,
        T: Inputs + 'static;
}

/// Adds handlers. `utoipa::path` names the operation of a handler `__path_<handler>`.
macro_rules! add {
    ($routes:ident: $($module:ident::$handler:ident)+) => {
        pastey::paste! {{
            $(
                let $routes = Routes::add::<$module::[<__path_ $handler>], _, _>($routes, $module::$handler);
            )+
            $routes
        }}
    };
}

/// The routes under [`V1`].
pub(crate) fn with_key<R: Routes>(routes: R) -> R {
    let routes = add! { routes:
        agents::create_agent
        agents::list_agents
        agents::find_agent
        agents::patch_agent
        agents::archive_agent
        execute::execute_agent
        execute::execute_task
        versions::list_versions
        versions::find_version
        aliases::list_aliases
        aliases::find_alias
        aliases::set_alias
        aliases::remove_alias
        cache::clear_cache
        models::list_models
        providers::list_providers
    };
    let routes = add! { routes:
        tasks::submit_task
        batch::submit_tasks
        tasks::list_tasks
        bulk::cancel_tasks
        bulk::retry_tasks
        tasks::find_task
        lifecycle::delete_task
        lifecycle::list_history
        texts::read_output
        lifecycle::list_steps
        lifecycle::find_step
        texts::read_step_json
        texts::read_step_text
        texts::read_call_arguments
        lifecycle::cancel_task
        lifecycle::answer_task
        lifecycle::resume_task
        lifecycle::retry_task
        dead_letters::list_dead_letters
        dead_letters::redrive_many
        dead_letters::redrive
    };
    add! { routes:
        keys::create_key
        keys::list_keys
        keys::find_key
        keys::change_key
        keys::revoke_key
        keys::rotate_key
        usage::read_usage
        usage::read_key_usage
        usage::read_tenant_usage
        tenants::create_tenant
        tenants::list_tenants
        tenants::find_tenant
        tenants::change_tenant
        tenants::delete_tenant
        tenants::create_tenant_key
        tenants::renew_key_seals
    }
}

/// The routes that need no API key.
pub(crate) fn open<R: Routes>(routes: R) -> R {
    add! { routes:
        health::healthz
        health::readyz
        openapi::read_openapi
    }
}

impl Routes for Router<Api> {
    fn add<P, H, T>(self, handler: H) -> Self
    where
        P: Path + SchemaReferences,
        H: Handler<T, Api>,
        T: Inputs + 'static,
    {
        let path = P::path();
        let path = path.strip_prefix(V1).unwrap_or(&path);
        P::methods().iter().fold(self, |router, method| {
            router.route(path, on(filter(method), handler.clone()))
        })
    }
}

const fn filter(method: &HttpMethod) -> MethodFilter {
    match method {
        HttpMethod::Get => MethodFilter::GET,
        HttpMethod::Put => MethodFilter::PUT,
        HttpMethod::Post => MethodFilter::POST,
        HttpMethod::Delete => MethodFilter::DELETE,
        HttpMethod::Options => MethodFilter::OPTIONS,
        HttpMethod::Head => MethodFilter::HEAD,
        HttpMethod::Patch => MethodFilter::PATCH,
        HttpMethod::Trace => MethodFilter::TRACE,
    }
}
