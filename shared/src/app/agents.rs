//! Creating, reading, changing and archiving agents.
//!
//! A change reads the agent, makes the change, and stores it if no other change came in
//! between. Otherwise it begins again with the changed agent. So no change is lost.

use std::sync::Arc;

use super::agent_purge::LONGEST_SUBMISSION;
use super::span::record;
use super::{Access, AgentDraft, AppError};
use crate::domain::{
    Agent, AgentHead, AgentId, AgentVersion, AliasName, AliasRefused, AliasSet, Causes, Counted,
    Provider, Switch, TenantId,
};
use crate::policy::catalog::Catalog;
use crate::ports::{
    Addition, AgentRetention, AgentStore, Clock, Page, PageRequest, StoreError, UnreadableAgent,
};

/// How often a change is tried. Each failure means that another writer changed the agent.
const MOST_TRIES: usize = 8;

/// The use cases on agents.
#[derive(Clone)]
pub struct Agents {
    /// The store of agents.
    pub store: Arc<dyn AgentStore>,
    /// The part of it that archives agents.
    pub retention: Arc<dyn AgentRetention>,
    /// The providers that this deployment can call.
    pub providers: Vec<Provider>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Agents {
    /// Creates an agent with its first version.
    pub async fn create_agent(
        &self,
        caller: Access,
        draft: AgentDraft,
    ) -> Result<AgentHead, AppError> {
        self.admit(&draft)?;
        let AgentDraft { config, switch, .. } = draft;
        let mut agent = AgentHead::of(Agent::create(caller.tenant, config, self.clock.now()));
        agent.switch = switch;
        let most = caller.count_limits.most(Counted::Agents);
        if let Addition::Full(used) = self.store.add(&agent, most).await? {
            return Err(AppError::TooMany {
                counted: Counted::Agents,
                most,
                used,
            });
        }
        record("agent_id", agent.newest.id.to_string());
        tracing::info!(agent_version = agent.newest.version, "agent created");
        Ok(agent)
    }

    /// How many agents of the tenant are not archived.
    pub async fn count_agents(&self, tenant: &TenantId) -> Result<u32, AppError> {
        Ok(self.store.count(tenant, self.clock.now()).await?)
    }

    /// The agent as a whole.
    pub async fn find_agent(&self, tenant: &TenantId, id: AgentId) -> Result<AgentHead, AppError> {
        let found = self.store.head(tenant, id).await?;
        found.ok_or_else(|| unknown(id))
    }

    /// Changes the agent into what `patched` makes of it: a new version if its configuration
    /// differs, and its switch. If another client changed the agent in between, `patched` is called
    /// again with the result.
    pub async fn patch_agent<E: From<AppError>>(
        &self,
        tenant: &TenantId,
        id: AgentId,
        patched: impl Fn(&AgentHead) -> Result<AgentDraft, E>,
    ) -> Result<AgentHead, E> {
        let change = |agent: &mut AgentHead| {
            let draft = patched(agent)?;
            // A configuration that stays was admitted before, perhaps by other rules: an agent must
            // be stopped in any case.
            if draft.config != agent.newest.config {
                self.admit(&draft)?;
            }
            let before = agent.clone();
            agent.configure(draft.config, self.clock.now());
            agent.switch = draft.switch;
            Ok::<AgentHead, E>(before)
        };
        let (agent, before) = self.change(tenant, id, change).await?;
        if agent.newest.version != before.newest.version {
            tracing::info!(agent_version = agent.newest.version, "agent changed");
        }
        match agent.switch {
            switch if switch == before.switch => {}
            Switch::Enabled => tracing::info!("agent enabled"),
            Switch::Disabled => tracing::info!("agent disabled"),
        }
        Ok(agent)
    }

    /// Archives the agent: it takes no more tasks and is in no list. Its tasks continue, and keep
    /// their versions as long as they are stored. Archiving it twice is no error. No inline agent can
    /// be archived.
    pub async fn archive_agent(&self, tenant: &TenantId, id: AgentId) -> Result<(), AppError> {
        if id.is_inline() {
            self.find_agent(tenant, id).await?;
            return Err(AppError::InlineAgent(id));
        }
        let now = self.clock.now();
        let due_at = now.plus(LONGEST_SUBMISSION);
        if !self.retention.archive(tenant, id, now, due_at).await? {
            return Err(unknown(id));
        }
        tracing::info!("agent archived");
        Ok(())
    }

    /// One version of an agent, also of one that is archived.
    pub async fn find_version(
        &self,
        tenant: &TenantId,
        version: AgentVersion,
    ) -> Result<Agent, AppError> {
        let found = self.store.version(tenant, version).await?;
        let AgentVersion { id, version } = version;
        found.ok_or_else(|| AppError::NotFound(format!("version {version} of agent {id}")))
    }

    /// The versions of an agent, newest first, also of one that is archived. One that can't be read
    /// is left out.
    pub async fn list_versions(
        &self,
        tenant: &TenantId,
        id: AgentId,
        page: &PageRequest,
    ) -> Result<Page<Agent>, AppError> {
        let Page { entries, next } = self.store.versions(tenant, id, page).await?;
        if entries.is_empty() && page.after.is_none() {
            return Err(unknown(id));
        }
        let readable = entries.into_iter().filter_map(|version| {
            let tell = |error: &StoreError| tracing::error!(error = %Causes(error), "agent version can't be read; the list leaves it out");
            version.inspect_err(tell).ok()
        });
        Ok(Page {
            entries: readable.collect(),
            next,
        })
    }

    /// Sets the version that the alias names.
    pub async fn set_alias(
        &self,
        tenant: &TenantId,
        id: AgentId,
        (name, version): (&AliasName, u32),
    ) -> Result<AliasSet, AppError> {
        let change = |agent: &mut AgentHead| agent.set_alias(name, version).map_err(AppError::from);
        let (_, set) = self.change(tenant, id, change).await?;
        tracing::info!(
            alias = name.as_str(),
            agent_version = version,
            "agent alias set"
        );
        Ok(set)
    }

    /// Removes the alias.
    pub async fn remove_alias(
        &self,
        tenant: &TenantId,
        id: AgentId,
        name: &AliasName,
    ) -> Result<(), AppError> {
        let change = |agent: &mut AgentHead| match agent.aliases.remove(name) {
            Some(_) => Ok(()),
            None => Err(unknown_alias(id, name)),
        };
        self.change(tenant, id, change).await?;
        tracing::info!(alias = name.as_str(), "agent alias removed");
        Ok(())
    }

    /// Clears the agent's cache: its tasks no longer use answers that were cached before. A task that a worker has uses
    /// cached answers until the worker leaves it.
    pub async fn clear_cache(&self, tenant: &TenantId, id: AgentId) -> Result<(), AppError> {
        record("agent_id", id.to_string());
        let now = self.clock.now();
        let change = |agent: &mut AgentHead| {
            agent.clear_cache(now);
            Ok::<(), AppError>(())
        };
        self.change(tenant, id, change).await?;
        tracing::info!("agent cache cleared");
        Ok(())
    }

    /// The version that the alias names.
    pub async fn find_alias(
        &self,
        tenant: &TenantId,
        id: AgentId,
        name: &AliasName,
    ) -> Result<u32, AppError> {
        let agent = self.find_agent(tenant, id).await?;
        let named = agent.aliases.get(name).copied();
        named.ok_or_else(|| unknown_alias(id, name))
    }

    /// The tenant's agents, oldest first. One that can't be read hides none of the others.
    pub async fn list_agents(
        &self,
        tenant: &TenantId,
        page: &PageRequest,
    ) -> Result<Page<Result<AgentHead, UnreadableAgent>>, AppError> {
        let listed = self.store.list(tenant, page).await?;
        for UnreadableAgent { id, reason } in listed
            .entries
            .iter()
            .filter_map(|entry| entry.as_ref().err())
        {
            tracing::error!(agent_id = %id, error = reason.as_str(), "agent can't be read; the list names its id only");
        }
        Ok(listed)
    }

    /// The models of the price table.
    pub fn list_models(&self) -> Catalog {
        Catalog::at(self.clock.now())
    }

    fn admit(&self, draft: &AgentDraft) -> Result<(), AppError> {
        let admitted = draft.admit(&self.providers, self.clock.now());
        admitted.map_err(AppError::Invalid)
    }

    /// Changes the agent and stores it, unless nothing changed. Begins again if another writer
    /// changed it in between. No inline agent can be changed.
    async fn change<T, E: From<AppError>>(
        &self,
        tenant: &TenantId,
        id: AgentId,
        change: impl Fn(&mut AgentHead) -> Result<T, E>,
    ) -> Result<(AgentHead, T), E> {
        for _ in 0..MOST_TRIES {
            let before = self.find_agent(tenant, id).await?;
            if id.is_inline() {
                return Err(AppError::InlineAgent(id).into());
            }
            let mut after = before.clone();
            let outcome = change(&mut after)?;
            if after == before {
                return Ok((after, outcome));
            }
            after.revision += 1;
            match self.store.replace(&before, &after).await {
                Ok(()) => return Ok((after, outcome)),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(AppError::from(error).into()),
            }
        }
        Err(AppError::from(StoreError::Conflict).into())
    }
}

fn unknown(id: AgentId) -> AppError {
    AppError::NotFound(format!("agent {id}"))
}

fn unknown_alias(id: AgentId, name: &AliasName) -> AppError {
    AppError::NotFound(format!("alias {name} of agent {id}"))
}

impl From<AliasRefused> for AppError {
    fn from(refused: AliasRefused) -> Self {
        match refused {
            AliasRefused::NoVersion { newest } => Self::invalid(
                "/version",
                format!("must be a version of the agent: 1 to {newest}"),
            ),
            AliasRefused::TooMany => Self::TooManyAliases,
        }
    }
}
