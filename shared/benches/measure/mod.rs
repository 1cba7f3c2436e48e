//! What a call takes: time, its thread's time on the processor, and allocations.

use std::alloc::System;
use std::time::{Duration, Instant};

use cpu_time::ThreadTime;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What was measured of one way to call, sample by sample.
#[derive(Default)]
pub(crate) struct Samples {
    wall: Vec<Duration>,
    cpu: Duration,
    allocations: usize,
    bytes: usize,
    calls: u32,
}

/// What a call takes, in microseconds where it is time.
pub(crate) struct Summary {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) cpu: f64,
    pub(crate) allocations: f64,
    pub(crate) kibibytes: f64,
}

impl Samples {
    /// Takes one sample of `calls` calls.
    pub(crate) async fn take<T>(&mut self, calls: u32, work: impl Future<Output = T>) -> T {
        self.wall.reserve(1);
        let (region, cpu, begun) = (Region::new(COUNTING), ThreadTime::now(), Instant::now());
        let done = work.await;
        let (wall, cpu, heap) = (begun.elapsed(), cpu.elapsed(), region.change());
        self.wall.push(wall / calls);
        self.cpu += cpu;
        self.allocations += heap.allocations + heap.reallocations;
        self.bytes += heap.bytes_allocated;
        self.calls += calls;
        done
    }

    pub(crate) fn summary(&mut self) -> Summary {
        self.wall.sort_unstable();
        let calls = f64::from(self.calls.max(1));
        Summary {
            p50: self.quantile(50),
            p99: self.quantile(99),
            cpu: micros(self.cpu) / calls,
            allocations: count(self.allocations) / calls,
            kibibytes: count(self.bytes) / calls / 1_024.0,
        }
    }

    /// The sample that `percent` of all don't exceed.
    fn quantile(&self, percent: usize) -> f64 {
        let rank = (self.wall.len() * percent).div_ceil(100).saturating_sub(1);
        self.wall.get(rank).copied().map_or(f64::NAN, micros)
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[expect(clippy::cast_precision_loss, reason = "no run makes 2^52 allocations")]
fn count(number: usize) -> f64 {
    number as f64
}
