//! Processes whose clocks differ.

use super::concurrent::spawn;
use super::*;
use crate::domain::Timestamp;
use crate::ports::CachedAnswer;

/// A clock that differs from the world's.
struct Skewed {
    clock: TokioClock,
    ahead: Duration,
    behind: Duration,
}

impl Clock for Skewed {
    fn now(&self) -> Timestamp {
        self.clock.now().plus(self.ahead).minus(self.behind)
    }
}

#[tokio::test(start_paused = true)]
async fn clocks_may_differ_by_seconds() {
    for (ahead, behind) in [(15, 0), (0, 15)] {
        let world = World::new();
        let clock = Skewed {
            clock: world.clock,
            ahead: seconds(ahead),
            behind: seconds(behind),
        };
        let settings = CacheSettings {
            patience: seconds(40),
            ..CacheSettings::default()
        };
        let (model, answers) = (Arc::clone(&world.model), Arc::new(world.answers.clone()));
        let other = Arc::new(Cached::new(model, answers, settings, Arc::new(clock)));
        world.model.hold();
        let leader = spawn(&world.process(), world.request(CacheMode::Default));
        world.model.until_called(1).await;
        let follower = spawn(&other, world.request(CacheMode::Default));
        pass(35).await;
        world.model.release();
        assert_eq!(got(&leader.await.unwrap()), "provider");
        let served = follower.await.unwrap().unwrap();
        assert_eq!(
            (served.text().as_str(), world.calls()),
            ("hello", 1),
            "{ahead} s ahead, {behind} s behind"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_from_a_clock_that_is_ahead_is_new() {
    let world = World::new();
    let (now, key) = (
        world.clock.now(),
        cache_key::of(&world.request(CacheMode::Default)),
    );
    let made_at = now.plus(seconds(5));
    let (fresh_until, ends_at) = (made_at.plus(seconds(100)), made_at.plus(seconds(200)));
    let cached = CachedAnswer {
        answer: samples::answer("hello"),
        made_at,
        fresh_until,
        ends_at,
    };
    world.answers.replace(&key, &cached).await.unwrap();
    let served = world
        .process()
        .call(&world.request(CacheMode::Default))
        .await
        .unwrap();
    assert_eq!(served.origin, Origin::Cache { age_seconds: 0 });
}
