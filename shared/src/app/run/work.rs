//! The loop: what the journal says is next, as long as there is time and nothing stands against it.

use futures::future::try_join;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::lease::{Attention, LOOK_EVERY};
use super::leave::End;
use super::room::Place;
use super::steps::Occasion;
use super::{RESERVE, Ran, RunError, Runner};
use crate::app::lost::note_steps;
use crate::app::outcome::{conversation_too_long, outcome_of};
use crate::domain::task::MAX_OPEN_CALLS;
use crate::domain::{
    Agent, Conversation, Failure, FailureCode, LimitKind, MAX_CONVERSATION_BYTES, Next, OnLimit,
    PendingCall, Spent, StepPlace, Task, TaskInput, Timestamp, Wait, WaitReason, whole_millis,
};
use crate::ports::{StepsRequest, StoreError};

/// How many calls of tools that can't be made a model may have in one task.
const MAX_BAD_CALLS: usize = 20;

/// How much of a journal is read at once.
const PAGE: (u32, u64) = (1_000, 4 * 1_024 * 1_024);

/// The most bytes of a journal that are read: a conversation as large as may be, and what its last
/// step can add to it.
const MAX_READ_BYTES: u64 = 2 * MAX_CONVERSATION_BYTES;

/// One worker's work on one task under one lease.
pub(super) struct Work<'a> {
    pub(super) runner: &'a Runner,
    pub(super) task: Task,
    /// When the invocation is killed.
    pub(super) until: Timestamp,
    pub(super) conversation: Conversation,
    /// The conversation's room in memory, if it has any yet.
    pub(super) place: Option<Place<'a>>,
    /// When it is next looked at what others did to the task.
    pub(super) next_look: Instant,
    /// The look at the task, or the renewal of its lease, that is under way.
    pub(super) attention: JoinSet<Attention>,
}

impl From<StoreError> for End {
    /// For a store that failed before anything was spent. A record that can't be read is no better
    /// the next time.
    fn from(error: StoreError) -> Self {
        let spent = if matches!(error, StoreError::Corrupt { .. }) {
            Spent::Attempt
        } else {
            Spent::Nothing
        };
        Self::GivenBack(error, spent)
    }
}

impl<'a> Work<'a> {
    pub(super) fn new(runner: &'a Runner, task: Task, until: Timestamp) -> Self {
        let conversation = Conversation::new(task.progress().base, []);
        let next_look = Instant::now() + LOOK_EVERY;
        Self {
            runner,
            task,
            until,
            conversation,
            place: None,
            next_look,
            attention: JoinSet::new(),
        }
    }

    /// This work with room for its conversation.
    pub(super) fn in_place(self, place: Place<'a>) -> Self {
        Self {
            place: Some(place),
            ..self
        }
    }

    pub(super) async fn run(mut self) -> Result<Ran, RunError> {
        let (Ok(end) | Err(end)) = self.work().await;
        // Whatever a step came to: past the deadline, the task's time is over.
        let end = match end {
            End::Failed(_) | End::Parked(..) | End::Paused(_) | End::InputRequired(_)
                if self.is_late() =>
            {
                End::TimedOut
            }
            end => end,
        };
        self.leave(end).await
    }

    async fn work(&mut self) -> Result<End, End> {
        if self.task.fence() > 1 {
            self.read_journal().await?;
        }
        let mut given = None;
        let mut done = 0_u32;
        loop {
            let next = match self.conversation.next() {
                Next::Finish(answer) => {
                    let outcome = outcome_of(*answer, self.conversation.outline().tool_calls());
                    return Ok(outcome.map_or_else(End::Failed, End::Completed));
                }
                next @ (Next::Ask { .. } | Next::Tools(_)) => next,
            };
            if self.is_late() {
                return Ok(End::TimedOut);
            }
            self.take_room()?;
            if done > 0 && self.is_short_of_time() {
                return Ok(End::HandedOver);
            }
            if self.step_deadline().left(self.runner.clock.now()).is_zero() {
                return Ok(self.without_time());
            }
            let (agent, input) = match &given {
                Some(given) => given,
                None => given.insert(try_join(self.read_agent(), self.read_input()).await?),
            };
            // Someone else may have the task by now. Nothing is waited for between this and the
            // step.
            if self.lease_has_ended() {
                self.renew().await?;
            }
            match next {
                Next::Ask { number } => {
                    self.limit_steps(number)?;
                    self.limit_tokens()?;
                    self.limit_conversation()?;
                    self.ask(agent, input, number).await?;
                }
                Next::Tools(calls) => self.answer_calls(agent, calls).await?,
                Next::Finish(_) => {}
            }
            done += 1;
        }
    }

    /// Reads what earlier workers recorded. If the journal grew under one that then disappeared,
    /// its attempt was worth it, which is made durable at once: this worker may disappear as well.
    pub(super) async fn read_journal(&mut self) -> Result<(), End> {
        let read = self.read_conversation().await;
        if matches!(read, Err(End::Parked(..) | End::Failed(_))) {
            // Its record told too little of it; the next worker is to know before it reads.
            note_steps(self.runner.journal.as_ref(), &mut self.task).await?;
        }
        read?;
        let attempts = self.task.attempts();
        if self.task.note_steps(self.conversation.outline().heads()) {
            tracing::info!(
                steps = self.conversation.outline().complete_until(),
                "recorded steps are used"
            );
            if attempts > 1 {
                self.renew().await?;
            }
        }
        Ok(())
    }

    /// Reads the steps of this run, as long as there is room for them.
    async fn read_conversation(&mut self) -> Result<(), End> {
        let base = self.task.progress().base;
        self.conversation = Conversation::new(base, []);
        let (limit, max_bytes) = PAGE;
        let mut wanted = StepsRequest {
            after: StepPlace::after(base),
            limit,
            max_bytes,
        };
        loop {
            let page = self.runner.journal.page(self.task.id(), &wanted).await?;
            for step in page.steps {
                self.conversation.push(step);
            }
            self.take_room()?;
            if self.conversation.outline().bytes() > MAX_READ_BYTES {
                return Err(End::Failed(conversation_too_long()));
            }
            let Some(next) = page.next else { return Ok(()) };
            wanted.after = next;
        }
    }

    /// The task's input, which a large one's record does not have.
    async fn read_input(&self) -> Result<TaskInput, End> {
        let input = match &self.task.spec().input {
            Some(input) => Some(input.clone()),
            None => self.runner.tasks.input(self.task.id()).await?,
        };
        let gone = || StoreError::Corrupt {
            key: self.task.id().to_string(),
            reason: "its input is gone".to_owned(),
        };
        input.ok_or_else(|| gone().into())
    }

    async fn read_agent(&self) -> Result<Agent, End> {
        let (tenant, version) = (&self.task.spec().tenant, self.task.spec().agent);
        let missing = || {
            let message = format!("agent {} has no version {}", version.id, version.version);
            End::Failed(Failure::of_its_own(FailureCode::AgentMissing, message))
        };
        self.runner
            .agents
            .version(tenant, version)
            .await?
            .ok_or_else(missing)
    }

    /// Answers the calls that can be answered here; those left are the client's.
    async fn answer_calls(&mut self, agent: &Agent, calls: Vec<PendingCall>) -> Result<(), End> {
        let last = calls.last().map_or(0, |call| call.number);
        self.limit_steps(last)?;
        let calls_so_far = u64::from(self.conversation.outline().tool_calls());
        if calls_so_far + calls.len() as u64 > u64::from(self.task.limits().max_tool_calls()) {
            return Err(self.limit(LimitKind::MaxToolCalls));
        }
        if self.conversation.bad_calls() > MAX_BAD_CALLS {
            let message = if self.conversation.is_full() {
                "the model kept calling tools when the conversation could take no more results"
            } else {
                "the model kept calling tools that it doesn't have, or with arguments that they don't take; its steps show each call"
            };
            return Err(End::Failed(Failure::of_its_own(
                FailureCode::BadToolCalls,
                message,
            )));
        }
        let occasion = Occasion {
            task: self.task.id(),
            base: self.task.progress().base,
            deadline: self.step_deadline(),
            wraps_up: self.wraps_up(),
            is_full: self.conversation.is_full(),
        };
        let (ours, clients): (Vec<_>, Vec<_>) = calls
            .into_iter()
            .map(|call| occasion.job(agent, call))
            .partition(Result::is_ok);
        let ours: Vec<_> = ours.into_iter().filter_map(Result::ok).collect();
        if ours.is_empty() {
            // Those that are left come next.
            let clients = clients
                .into_iter()
                .filter_map(Result::err)
                .take(MAX_OPEN_CALLS);
            return Err(End::InputRequired(clients.collect()));
        }
        self.run_tools(ours).await
    }

    fn limit_steps(&self, number: u32) -> Result<(), End> {
        let steps = number.saturating_sub(self.task.progress().base);
        if steps > self.task.limits().max_steps() {
            Err(self.limit(LimitKind::MaxSteps))
        } else {
            Ok(())
        }
    }

    /// No model takes so much; the request alone would take the memory of the tasks beside this
    /// one.
    fn limit_conversation(&self) -> Result<(), End> {
        let bytes = self.conversation.outline().bytes();
        if bytes > MAX_CONVERSATION_BYTES {
            Err(End::Failed(conversation_too_long()))
        } else {
            Ok(())
        }
    }

    fn limit_tokens(&self) -> Result<(), End> {
        let usage = self.task.spend().usage;
        let used = usage.input_tokens.saturating_add(usage.output_tokens);
        let over = self
            .task
            .limits()
            .max_tokens()
            .is_some_and(|most| used >= most);
        if over {
            Err(self.limit(LimitKind::MaxTokens))
        } else {
            Ok(())
        }
    }

    /// How the work ends at a limit.
    pub(super) fn limit(&self, limit: LimitKind) -> End {
        match self.task.limits().on_limit {
            OnLimit::Pause => End::Paused(limit),
            OnLimit::Fail => End::Failed(Failure::limit_reached(limit)),
        }
    }

    fn is_late(&self) -> bool {
        self.runner.clock.now() >= self.task.deadline()
    }

    /// Whether the task is to come to an end: no more tools then.
    pub(super) fn wraps_up(&self) -> bool {
        self.runner.clock.now() >= self.task.soft_deadline()
    }

    /// How the work ends if the invocation leaves no time for a step. If its function's timeout is
    /// too short, the next one will not either: the task waits in between, instead of going round.
    fn without_time(&self) -> End {
        let now = self.runner.clock.now();
        let pause = self.task.turn_pause(now);
        tracing::error!(
            left_ms = whole_millis(self.until.since(now)),
            reserve_ms = whole_millis(RESERVE),
            after_ms = whole_millis(pause),
            "invocation has no time for a step"
        );
        let wait = Wait {
            until: now.plus(pause),
            reason: WaitReason::OutOfTime,
        };
        End::Parked(wait, Spent::Nothing)
    }

    fn is_short_of_time(&self) -> bool {
        self.until.since(self.runner.clock.now()) < self.runner.times.step_reserve + RESERVE
    }
}
