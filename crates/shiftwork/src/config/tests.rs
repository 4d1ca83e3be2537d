//! What is written is read again, what is read is in force, and what is wrong is said with its key.

use proptest::{option::of, prelude::*};
use serde_json::Value;
use shiftwork_queue::MemoryQueue;

use super::*;
use crate::{
    Batch, BatchContext, BatchWorker, Batches, BoxError, Breaker, Context, Event, Failure, GiveUp, Group, Host,
    HostBuilder, Missed, OnFault, Overlap, QueueSourceExt, RateLimit, Restart, RestartStrategy, Retry, RetryBudget,
    Schedule, Source, Tick, Watchdog,
    event::Settle,
    source::{BatchLane, Claimed, Lane, LaneContext, Offer, Settling},
};

struct InBatches;

impl BatchWorker for InBatches {
    type Input = u32;

    async fn cycle(&self, _: &mut Batch<u32>, _: &BatchContext) -> Result<(), Failure> {
        Ok(())
    }
}

/// A source of the program's own that serves so many lanes, and has nothing for them.
struct Narrow(usize);

struct NarrowLane;

impl Source for Narrow {
    type Input = u32;
    type Lane = NarrowLane;

    fn lanes_max(&self) -> usize {
        self.0
    }

    fn lane(&self, _: &LaneContext) -> NarrowLane {
        NarrowLane
    }
}

impl Lane for NarrowLane {
    type Input = u32;

    async fn next(&mut self, _: &LaneContext) -> Result<Option<Offer<u32>>, Failure> {
        Ok(None)
    }

    fn claimed(&self) -> Option<&Claimed> {
        None
    }

    async fn settle(&mut self, _: Settle, _: Option<&Failure>, _: &LaneContext) -> Result<(), BoxError> {
        Ok(())
    }
}

impl BatchLane for NarrowLane {
    type Taken = u32;

    async fn take(&mut self, _: usize, _: Duration, _: &mut Vec<u32>, _: &LaneContext) -> Result<(), Failure> {
        Ok(())
    }

    fn accept(&mut self, taken: u32, _: &LaneContext) -> Offer<u32> {
        Offer::of(taken, 1)
    }

    async fn settle_together(_: &mut [Settling<'_, Self>]) {}
}

/// A worker of each sort.
fn host() -> HostBuilder {
    let at_work = |_: u32, _: Context| async { Ok::<(), Failure>(()) };
    let on_tick = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
    Host::builder()
        .worker("charge", MemoryQueue::<u32>::new().source(), at_work)
        .retry(Retry::exponential().initial(Duration::from_secs(3)))
        .on_fault(OnFault::restart())
        .service("http", |cx| async move {
            cx.stopped().await;
            Ok(())
        })
        .worker("clean up", Schedule::every(Duration::from_secs(60)).overlap(Overlap::Skip), on_tick)
        .batch_worker("import", MemoryQueue::<u32>::new().source(), Batches::of(20), InBatches)
        .host()
        .group("payments", Group::one_for_all())
}

fn read(text: &str) -> Result<Config, String> {
    toml::from_str(text).map_err(|error: toml::de::Error| error.message().to_owned())
}

/// What is wrong with it, when it is read or when the host is built.
fn mistake(text: &str) -> String {
    let built = read(text).and_then(|config| host().config(config).build().map_err(|error| error.to_string()));
    built.map(|host| host.config().clone()).expect_err(text)
}

#[test]
fn what_is_left_out_stays_as_the_code_says() {
    let config = read("[worker.charge]\nconcurrency = 8\nretry = { attempts_max = 9 }").unwrap();
    let host = host().config(config).build().unwrap();
    let charge = &host.config().worker["charge"];
    assert_eq!(charge.concurrency, Some(8));
    assert_eq!(charge.retry, Retry::default().initial(Duration::from_secs(3)).attempts_max(9).into());
    assert_eq!(charge.breaker, Some(Some(Breaker::default().into())));
    assert_eq!(host.config().worker["clean up"].schedule.overlap, Some(Overlap::Skip));
}

#[test]
fn a_file_says_how_a_group_is_restarted_and_not_how_a_member_is() {
    let on_tick = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
    let grouped = || {
        let pull = Schedule::every(Duration::from_secs(60));
        Host::builder().group("sync", Group::one_for_all()).worker("pull", pull, on_tick).in_group("sync")
    };
    let text = "[group.sync]\nstrategy = \"rest_for_one\"\nrestart = { restarts_max = 2, window = \"1m\" }";
    let host = grouped().config(read(text).unwrap()).build().unwrap();
    let restart = Restart::default().intensity(2, Duration::from_secs(60));
    let sync = Group::rest_for_one().restart(restart);
    assert_eq!(host.config().group["sync"], sync.into());
    let (sender, receiver) = std::sync::mpsc::channel();
    let listener = move |_: tokio::time::Instant, event: &Event| {
        if let Event::HostStarting { workers } = event {
            drop(sender.send(workers[0].clone()));
        }
    };
    let declared = grouped().config(read(text).unwrap()).host().listener(listener);
    assert!(tokio_test::block_on(declared.run_until(std::future::ready(()))).is_clean());
    let pull = receiver.try_recv().unwrap();
    assert_eq!(pull.on_fault, OnFault::Restart(restart));
    assert_eq!(pull.group.map(|group| group.strategy), Some(RestartStrategy::RestForOne));
    // What is in force can be read again, and changes nothing.
    let again = grouped().config(host.config().clone()).build().unwrap();
    assert_eq!(again.config(), host.config());

    let told = |text: &str| grouped().config(read(text).unwrap()).build().unwrap_err().to_string();
    assert_eq!(
        told("[group.syn]\nstrategy = \"one_for_one\""),
        "could not apply the configuration: group.syn: there is no group of this name; there are [\"sync\"]"
    );
    for (text, key) in [("on_fault = \"degrade\"", "on_fault"), ("restart = { max = \"9s\" }", "restart")] {
        let why = "it is restarted with the group \"sync\": accepted is the group's own restart";
        let told = told(&format!("[worker.pull]\n{text}"));
        assert_eq!(told, format!("could not apply the configuration: worker.pull.{key}: {why}"));
    }
}

#[test]
fn a_watchdog_is_written_like_any_other_policy() {
    let text = "[host.watchdog]\nblocked_after = \"2s\"\nprocess = \"keep\"";
    let host = host().config(read(text).unwrap()).build().unwrap();
    let watchdog = Watchdog::default().blocked_after(Duration::from_secs(2)).keep_process();
    assert_eq!(host.config().host.watchdog, watchdog.into());
    let told = read("[host.watchdog]\nblocked_after = \"9ms\"").unwrap_err();
    assert!(told.starts_with("host.watchdog.blocked_after is \"9ms\"; accepted is a time of at least 10ms"), "{told}");
}

#[test]
fn ticks_that_cannot_come_due_while_a_cycle_is_at_work_cannot_end_it() {
    let on_tick = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
    let told = |host: HostBuilder| host.build().unwrap_err().to_string();
    let accepted = "accepted here is \"wait\"";
    let delay = Schedule::with_delay(Duration::from_secs(5)).overlap(Overlap::CancelPrevious);
    let by_code = told(Host::builder().worker("clean up", delay, on_tick).host());
    assert!(by_code.contains("worker.\"clean up\".schedule.overlap: it is \"cancel_previous\""), "{by_code}");
    assert!(by_code.contains("a schedule with a delay") && by_code.contains(accepted), "{by_code}");
    let text = "schedule = { at = \"2026-03-29T01:00:00Z\", overlap = \"cancel_previous\" }";
    let by_file = told(host().config(read(&format!("[worker.'clean up']\n{text}")).unwrap()));
    assert!(by_file.contains("a schedule with one tick") && by_file.contains(accepted), "{by_file}");
    // A file may put right what the code says.
    let delay = Schedule::with_delay(Duration::from_secs(5)).overlap(Overlap::CancelPrevious);
    let right = read("[worker.'clean up'.schedule]\nevery = \"10s\"").unwrap();
    Host::builder().worker("clean up", delay, on_tick).config(right).build().unwrap();
}

#[test]
fn every_limit_that_code_sets_is_taken_away_by_a_word() {
    let some_time = Duration::from_secs(9);
    let limited = || {
        let work = |_: u32, _: Context| async { Ok::<(), Failure>(()) };
        Host::builder()
            .worker("charge", MemoryQueue::<u32>::new().source().measure_every(some_time), work)
            .cycle_timeout(some_time)
            .progress_timeout(some_time)
            .drain(some_time)
            .retry(Retry::default().total_max(some_time))
            .breaker(Breaker::default())
            .rate_limit(RateLimit::default())
            .retry_budget(RetryBudget::default())
    };
    let keys = Config::keys();
    let may_be_absent = keys.iter().filter(|key| key.accepts.ends_with("or \"none\""));
    let may_be_absent: Vec<&str> =
        may_be_absent.map(|key| key.path.strip_prefix("worker.NAME.").expect("a worker's limit")).collect();
    assert!(may_be_absent.contains(&"drain"), "{may_be_absent:?}");
    let without = |host: Host| {
        let charge = serde_json::to_value(&host.config().worker["charge"]).unwrap();
        let is_none = |key: &&str| charge.pointer(&format!("/{}", key.replace('.', "/"))) == Some(&Value::from("none"));
        may_be_absent.iter().copied().filter(is_none).collect::<Vec<&str>>()
    };
    assert_eq!(without(limited().build().unwrap()), [""; 0], "code sets each of them");
    let none: String = may_be_absent.iter().map(|key| format!("{key} = \"none\"\n")).collect();
    let config = read(&format!("[worker.charge]\n{none}")).unwrap();
    assert_eq!(without(limited().config(config).build().unwrap()), may_be_absent);
}

#[test]
fn a_later_file_is_laid_over_an_earlier_one() {
    let site = read("[worker.charge]\nconcurrency = 8\nbreaker = \"none\"").unwrap();
    let machine = read("[worker.charge]\nconcurrency = 2").unwrap();
    let host = host().config(site).config(machine).build().unwrap();
    let charge = &host.config().worker["charge"];
    assert_eq!((charge.concurrency, &charge.breaker), (Some(2), &Some(None)));
}

#[test]
fn a_schedule_becomes_another_one_with_the_policies_of_the_code() {
    let text = "schedule = { cron = \"0 3 * * *\", zone = \"Europe/Vienna\", missed = \"catch_up\", catch_up_max = 7 }";
    let host = host().config(read(&format!("[worker.'clean up']\n{text}")).unwrap()).build().unwrap();
    let night = Schedule::cron("0 3 * * *").unwrap().zone("Europe/Vienna").unwrap();
    let night = night.overlap(Overlap::Skip).missed(Missed::CatchUp { max: 7 });
    assert_eq!(host.config().worker["clean up"].schedule, night.as_config());
}

#[test]
fn a_batch_worker_has_no_more_inputs_in_hand_than_its_source_has_lanes() {
    let host =
        |size| Host::builder().batch_worker("import", Narrow(10), Batches::of(size), InBatches).concurrency(9).host();
    assert_eq!(host(4).build().unwrap().config().worker["import"].concurrency, Some(2));
    let told = host(11).build().unwrap_err().to_string();
    assert!(told.contains("worker.import.batch.size: it is 11, but"), "{told}");
    let more = read("[worker.import]\nconcurrency = 3").unwrap();
    let told = host(4).config(more).build().unwrap_err().to_string();
    assert!(told.contains("worker.import.concurrency: it is 3, but what starts"), "{told}");
}

#[test]
fn how_many_ticks_are_caught_up_with_is_written_as_what_it_comes_to() {
    for (said, in_force) in [(0, 1), (7, 7), (20_000, 10_000)] {
        let night = Schedule::cron("0 3 * * *").unwrap().missed(Missed::CatchUp { max: said });
        assert_eq!(night.as_config().catch_up_max, Some(in_force));
    }
}

#[test]
fn a_new_expression_keeps_the_zone() {
    let mut night = Schedule::cron("0 3 * * *").unwrap().zone("Europe/Vienna").unwrap();
    night.configured(&ScheduleConfig { cron: Some("0 4 * * *".to_owned()), ..Default::default() }).unwrap();
    let later = Schedule::cron("0 4 * * *").unwrap().zone("Europe/Vienna").unwrap();
    assert_eq!(night.as_config(), later.as_config());
}

#[test]
fn a_mistake_is_told_by_its_key_and_by_what_is_accepted() {
    for (text, told) in [
        ("[workers.charge]", "workers does not exist; accepted here are host, worker and group"),
        ("[host]\ndrain = \"5s\"", "host.drain does not exist; accepted here are stop and watchdog"),
        (
            "[worker.charge.retry]\nattempts = 3",
            "worker.charge.retry.attempts does not exist; accepted here are attempts_max, initial, factor, max, \
             jitter_percent, asked_max and total_max",
        ),
        (
            "[worker.charge]\nconcurrency = 0",
            "worker.charge.concurrency is 0; accepted is a whole number from 1 to 1000000",
        ),
        (
            "[worker.charge]\nconcurrency = -1",
            "worker.charge.concurrency is -1; accepted is a whole number from 1 to 1000000",
        ),
        (
            "[worker.charge]\nconcurrency = 1.5",
            "worker.charge.concurrency is 1.5; accepted is a whole number from 1 to 1000000",
        ),
        ("[worker.charge]\nconcurrency = \"8\"", "worker.charge.concurrency is \"8\"; accepted is a whole number"),
        ("[worker.charge]\nconcurrency = [8]", "for worker.charge.concurrency"),
        (
            "[worker.charge]\ncrashes_max = 5000000000",
            "worker.charge.crashes_max is 5000000000; accepted is a whole number from 1 to 4294967295",
        ),
        (
            "[worker.'clean up']\ncycle_timeout = 30",
            "worker.\"clean up\".cycle_timeout is 30; accepted is a time of at least 1ms in hours, minutes, seconds or \
             milliseconds, such as \"30s\", \"1m 30s\" or \"500ms\", or \"none\"",
        ),
        ("[worker.charge]\ncycle_timeout = \"30\"", "worker.charge.cycle_timeout is \"30\"; accepted is a time"),
        ("[worker.charge]\ncycle_timeout = \"-30s\"", "worker.charge.cycle_timeout is \"-30s\"; accepted is a time"),
        (
            "[worker.charge]\ncycle_timeout = \"1500us\"",
            "worker.charge.cycle_timeout is \"1500us\"; accepted is a time",
        ),
        ("[worker.charge]\nstart_timeout = \"none\"", "worker.charge.start_timeout is \"none\"; accepted is a time"),
        (
            "[worker.charge.queue]\nlease = \"1ms\"",
            "worker.charge.queue.lease is \"1ms\"; accepted is a time of at least 3ms",
        ),
        (
            "[worker.charge]\non_fault = \"retry\"",
            "worker.charge.on_fault is \"retry\"; accepted is \"stop_host\", \"degrade\" or \"restart\"",
        ),
        ("[worker.charge]\nbreaker = true", "for worker.charge.breaker"),
        ("[worker.charge]\nbreaker = \"off\"", "worker.charge.breaker is \"off\"; accepted is a table, or \"none\""),
        (
            "[worker.charge]\nconcurrency = 1000001",
            "worker.charge.concurrency is 1000001; accepted is a whole number from",
        ),
        // From here on only the host knows.
        (
            "[worker.charg]",
            "worker.charg: there is no worker of this name; there are [\"charge\", \"http\", \"clean up\", \"import\"]",
        ),
        (
            "[worker.http]\nconcurrency = 2\ndrain = \"1s\"",
            "worker.http.concurrency: it is a service or a job, which has no",
        ),
        (
            "[worker.'clean up'.restart]\nmax = \"5s\"",
            "worker.\"clean up\".restart: on_fault does not restart this worker",
        ),
        (
            "[worker.charge.schedule]\nevery = \"5s\"",
            "worker.charge.schedule: what starts the cycles of this worker is no",
        ),
        (
            "[worker.'clean up'.queue]\nlease = \"5s\"",
            "worker.\"clean up\".queue: what starts the cycles of this worker is",
        ),
        (
            "[worker.'clean up'.schedule]\ncron = \"61 * * * *\"",
            "worker.\"clean up\".schedule.cron: cron expression \"61 * * * *\": in the minute \"61\"",
        ),
        (
            "[worker.'clean up'.schedule]\ncron = \"0 3 * * *\"\nzone = \"Europe/Wien\"",
            "worker.\"clean up\".schedule.zone: unknown time zone \"Europe/Wien\"",
        ),
        (
            "[worker.'clean up'.schedule]\nzone = \"UTC\"",
            "worker.\"clean up\".schedule.zone: it is \"UTC\", but only a cron",
        ),
        (
            "[worker.'clean up'.schedule]\ncron = \"0 3 * * *\"\nevery = \"5s\"",
            "worker.\"clean up\".schedule: it has every and cron; accepted is one of",
        ),
        (
            "[worker.'clean up'.schedule]\nmissed = \"catch_up\"",
            "worker.\"clean up\".schedule.missed: \"catch_up\" needs",
        ),
        (
            "[worker.'clean up'.schedule]\ncatch_up_max = 3",
            "worker.\"clean up\".schedule.catch_up_max: it is 3, but missed",
        ),
        (
            "[worker.'clean up'.schedule]\ncron = \"0 3 * * *\"\nzone = \"Etc/Unknown\"",
            "worker.\"clean up\".schedule.zone: unknown time zone \"Etc/Unknown\"",
        ),
        (
            "[worker.'clean up'.schedule]\ndelay = \"5s\"\noverlap = \"skip\"",
            "worker.\"clean up\".schedule.overlap: no tick of a schedule with a delay comes due while a cycle is at work; \
             accepted here is \"wait\"",
        ),
        (
            "[worker.'clean up'.schedule]\ndelay = \"5s\"\nmissed = \"skip\"",
            "worker.\"clean up\".schedule.missed: no tick of a schedule with a delay is missed; accepted here is \"merge\"",
        ),
        (
            "[worker.'clean up'.schedule]\nat = \"2026-03-29T01:00:00Z\"\noverlap = \"allow\"",
            "worker.\"clean up\".schedule.overlap: no tick of a schedule with one tick comes due",
        ),
        (
            "[worker.'clean up']\nconcurrency = 2",
            "worker.\"clean up\".concurrency: it is 2, but what starts the cycles of this worker starts 1 at a time",
        ),
        (
            "[worker.'clean up']\ncrashes_max = 2",
            "worker.\"clean up\".crashes_max: only deliveries of a queue have leases that lapse",
        ),
        (
            "[worker.charge.retry]\nmax = \"2s\"",
            "worker.charge.retry.initial: it is 3s, longer than retry.max, which is 2s",
        ),
        (
            "[worker.charge.breaker]\nprobe_every = \"90s\"",
            "worker.charge.breaker.probe_every: it is 1m 30s, longer than breaker.probe_max, which is 1m",
        ),
        (
            "[worker.charge.restart]\ninitial = \"1h\"",
            "worker.charge.restart.initial: it is 1h, longer than restart.max, which is 30s",
        ),
        (
            "[group.payments.restart]\nmax = \"10ms\"",
            "group.payments.restart.initial: it is 1s, longer than restart.max, which is 10ms",
        ),
    ] {
        let mistake = mistake(text);
        assert!(mistake.contains(told), "{text}\n{mistake}");
    }
}

#[test]
fn all_problems_of_a_host_are_told_at_once() {
    let text = "[worker.'clean up']\nbatch = { size = 2 }\nrestart = { max = \"1s\" }";
    assert!(
        mistake(text).contains("2 problems with the configuration: (1) worker.\"clean up\".batch: "),
        "{}",
        mistake(text)
    );
    let told = mistake("[worker.charg]\n[worker.'clean up'.schedule]\nzone = \"UTC\"\ncatch_up_max = 3");
    assert!(told.contains("3 problems with the configuration: (1) worker.charg: "), "{told}");
    assert!(told.contains(" (2) worker.\"clean up\".schedule.zone: "), "{told}");
    assert!(told.contains(" (3) worker.\"clean up\".schedule.catch_up_max: "), "{told}");
}

#[test]
fn a_mistake_points_at_its_line() {
    let error = toml::from_str::<Config>("[worker.charge]\nconcurrency = 8\ncycle_timeout = 30\n").unwrap_err();
    assert!(error.to_string().contains("line 3"), "{error}");
    let error = toml::from_str::<Config>("[worker.charge]\nconcurrency = 8\ncycle_limit = 30\n").unwrap_err();
    assert!(error.to_string().contains("line 3"), "{error}");
}

#[test]
fn a_key_that_is_written_twice_is_refused_where_the_format_lets_it_stand() {
    for (text, key) in [
        (r#"{"host": {"stop": {"drain": "1s", "drain": "2s"}}}"#, "host.stop.drain"),
        (r#"{"worker": {"a": {}, "a": {}}}"#, "worker.a"),
    ] {
        let told = serde_json::from_str::<Config>(text).unwrap_err().to_string();
        assert!(told.starts_with(&format!("{key} is written twice; accepted is once")), "{told}");
    }
}

#[test]
fn what_only_code_can_ask_for_is_written_as_what_it_comes_to() {
    let work = |_: u32, _: Context| async { Ok::<(), Failure>(()) };
    let odd = |time: Duration| {
        let source = MemoryQueue::<u32>::new().source();
        let source = source.lease(time).poll_interval(time).cooldown(time).measure_every(time);
        Host::builder()
            .worker("charge", source, work)
            .cycle_timeout(time)
            .progress_timeout(time)
            .start_timeout(time)
            .drain(time)
            .concurrency(usize::MAX)
            .host()
    };
    for time in [Duration::ZERO, Duration::from_nanos(1_000_001), Duration::from_micros(2_999_999), Duration::MAX] {
        let host = |config: Config| odd(time).config(config);
        let few = read("[worker.charge]\nconcurrency = 7").unwrap();
        let once = host(few).build().unwrap();
        let written = toml::to_string(once.config()).unwrap();
        let again = host(toml::from_str(&written).expect(&written)).build().expect(&written);
        assert_eq!(toml::to_string(again.config()).unwrap(), written);
    }
    let told = odd(Duration::MAX).build().unwrap_err().to_string();
    assert!(told.contains("worker.charge.concurrency: so many cycles would be 18446744073709551615 inputs at a time"));
    let schedule = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
    let host = Host::builder().worker("clean up", Schedule::every(Duration::MAX), schedule).concurrency(9);
    assert_eq!(host.build().unwrap().config().worker["clean up"].concurrency, Some(1));
}

// Each section in full, so that a new key does not compile before it is tried.

fn time(least_ms: u64) -> impl Strategy<Value = Duration> {
    prop_oneof![least_ms..100_000, (1u64..100_000).prop_map(|hours| hours * 3_600_000)].prop_map(Duration::from_millis)
}

fn count(least: u32) -> impl Strategy<Value = u32> {
    prop_oneof![least..1_000, Just(u32::MAX)]
}

/// A time that is no longer than another one.
fn limited() -> impl Strategy<Value = (Option<Duration>, Option<Duration>)> {
    of((time(1), time(1))).prop_map(|times| times.map(|(one, other)| (one.min(other), one.max(other))).unzip())
}

prop_compose! {
    fn retry()(
        attempts_max in of(count(1)), (initial, max) in limited(), factor in of(count(1)),
        jitter_percent in of(0u8..=100), asked_max in of(of(time(1))), total_max in of(of(time(1))),
    ) -> RetryConfig {
        RetryConfig { attempts_max, initial, factor, max, jitter_percent, asked_max, total_max }
    }
}

prop_compose! {
    fn breaker()(
        failures in of(count(1)), (probe_every, probe_max) in limited(), jitter_percent in of(0u8..=100),
    ) -> BreakerConfig {
        BreakerConfig { failures, probe_every, probe_max, jitter_percent }
    }
}

prop_compose! {
    fn restart()(
        (initial, max) in limited(), restarts_max in of(count(0)), window in of(time(1)),
        then in of(prop::sample::select(vec![GiveUp::StopHost, GiveUp::Degrade])),
    ) -> RestartConfig {
        RestartConfig { initial, max, restarts_max, window, then }
    }
}

prop_compose! {
    fn stop()(
        before_drain in of(time(0)), drain in of(time(0)), cancel in of(time(0)), close in of(time(0)),
    ) -> StopConfig {
        StopConfig { before_drain, drain, cancel, close }
    }
}

prop_compose! {
    fn schedule()(
        pace in 0..5, period in time(1), at in 0i64..4_000_000_000, first_after in of(time(0)),
        missed in of(prop::sample::select(vec![MissedWord::Merge, MissedWord::Skip, MissedWord::CatchUp])),
        max in 1u32..=10_000,
        overlap in of(prop::sample::select(vec![
            Overlap::Wait, Overlap::Skip, Overlap::Allow, Overlap::CancelPrevious,
        ])),
        jitter in of(time(0)),
    ) -> ScheduleConfig {
        ScheduleConfig {
            every: (pace == 0).then_some(period),
            delay: (pace == 1).then_some(period),
            cron: (pace == 2).then(|| "*/5 1-3 * * MON".to_owned()),
            zone: (pace == 2).then(|| "America/New_York".to_owned()),
            at: (pace == 3).then(|| shiftwork_queue::Timestamp::from_second(at).unwrap()),
            first_after,
            // A delay misses none, and has like a one-off none that comes due while a cycle is at work.
            missed: missed.filter(|_| pace != 1),
            catch_up_max: (pace != 1 && missed == Some(MissedWord::CatchUp)).then_some(max),
            overlap: overlap.filter(|_| ![1, 3].contains(&pace)),
            jitter,
        }
    }
}

prop_compose! {
    fn queue()(
        lease in of(time(3)), poll_interval in of(time(1)), cooldown in of(time(0)), measure_every in of(of(time(1))),
    ) -> QueueConfig {
        QueueConfig { lease, poll_interval, cooldown, measure_every }
    }
}

prop_compose! {
    fn watchdog()(
        blocked_after in of(time(10)), grace in of(time(0)),
        process in of(prop::sample::select(vec![ProcessWord::End, ProcessWord::Keep])),
    ) -> WatchdogConfig {
        WatchdogConfig { blocked_after, grace, process }
    }
}

prop_compose! {
    fn group()(
        strategy in of(prop::sample::select(vec![
            RestartStrategy::OneForOne, RestartStrategy::RestForOne, RestartStrategy::OneForAll,
        ])),
        restart in restart(),
    ) -> GroupConfig {
        GroupConfig { strategy, restart }
    }
}

prop_compose! {
    fn batch()(size in of(1usize..=1_000), linger in of(time(0))) -> BatchesConfig {
        BatchesConfig { size, linger }
    }
}

prop_compose! {
    fn rate_limit()(cycles in of(count(1)), per in of(time(1)), burst in of(count(1))) -> RateLimitConfig {
        RateLimitConfig { cycles, per, burst }
    }
}

prop_compose! {
    fn retry_budget()(
        per_second in of(count(1)), burst in of(count(1)), share_percent in of(0u8..=100),
    ) -> RetryBudgetConfig {
        RetryBudgetConfig { per_second, burst, share_percent }
    }
}

/// What only workers of one sort have.
#[derive(Debug, Clone)]
enum Own {
    Deliveries { queue: QueueConfig, batch: BatchesConfig },
    Ticks(ScheduleConfig),
}

/// A worker of cycles, with so many of them side by side at most. Boxed, as its parts are: together they are larger than a stack.
fn worker(lanes_max: usize, own: Own) -> BoxedStrategy<WorkerConfig> {
    let words = [None, Some(FaultWord::StopHost), Some(FaultWord::Degrade), Some(FaultWord::Restart)];
    let fault = (prop::sample::select(words.to_vec()), restart()).boxed();
    let times = (of(of(time(1))), of(of(time(1))), of(time(1)), of(of(time(0)))).boxed();
    let counts = (of(1..=lanes_max), of(count(1)));
    let limits = (of(of(breaker())), of(of(rate_limit())), of(of(retry_budget()))).boxed();
    let section =
        (fault, times, counts, retry().boxed(), limits).prop_map(move |(fault, times, counts, retry, limits)| {
            let (on_fault, restart) = fault;
            let (cycle_timeout, progress_timeout, start_timeout, drain) = times;
            let (concurrency, crashes_max) = counts;
            let (breaker, rate_limit, retry_budget) = limits;
            let (crashes_max, batch, queue, schedule) = match own.clone() {
                Own::Deliveries { queue, batch } => (crashes_max, batch, queue, ScheduleConfig::default()),
                Own::Ticks(schedule) => (None, BatchesConfig::default(), QueueConfig::default(), schedule),
            };
            WorkerConfig {
                concurrency,
                batch,
                cycle_timeout,
                progress_timeout,
                start_timeout,
                drain,
                crashes_max,
                on_fault,
                restart: if on_fault == Some(FaultWord::Restart) { restart } else { RestartConfig::default() },
                retry,
                breaker,
                rate_limit,
                retry_budget,
                schedule,
                queue,
            }
        });
    section.boxed()
}

/// A service: of what a worker has, what is not of cycles.
fn service() -> BoxedStrategy<WorkerConfig> {
    worker(1, Own::Ticks(ScheduleConfig::default()))
        .prop_map(|mut section| {
            section.leave_out_what_is_of_cycles();
            section
        })
        .boxed()
}

fn config() -> impl Strategy<Value = Config> {
    let charge = queue().prop_flat_map(|queue| {
        let batch = BatchesConfig::default();
        worker(LANES_MAX, Own::Deliveries { queue, batch })
    });
    let charge = charge.boxed();
    let clean_up = schedule().prop_flat_map(|schedule| worker(1, Own::Ticks(schedule))).boxed();
    // A thousand of the largest batches are all that a worker may have in hand.
    let import =
        (queue(), batch()).prop_flat_map(|(queue, batch)| worker(1_000, Own::Deliveries { queue, batch })).boxed();
    let workers = (charge, service(), clean_up, import).boxed();
    (stop().boxed(), watchdog().boxed(), workers, group().boxed()).prop_map(|(stop, watchdog, workers, group)| {
        let (charge, http, clean_up, import) = workers;
        let workers = [("charge", charge), ("http", http), ("clean up", clean_up), ("import", import)];
        Config {
            host: HostConfig { stop, watchdog },
            worker: workers.into_iter().map(|(name, section)| (name.to_owned(), section)).collect(),
            group: [("payments".to_owned(), group)].into(),
        }
    })
}

/// The keys of `part` whose value in `whole` is another one.
fn differences(path: &str, part: &Value, whole: &Value) -> Vec<String> {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => {
            let missing = Value::Null;
            let keys = part.iter();
            keys.flat_map(|(key, value)| {
                differences(&format!("{path}.{key}"), value, whole.get(key).unwrap_or(&missing))
            })
            .collect()
        }
        (part, whole) if part == whole => Vec::new(),
        (part, whole) => vec![format!("{path}: {part} is written, {whole} is in force")],
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_written_is_read_again_in_every_format(config in config()) {
        let toml = toml::to_string(&config).unwrap();
        prop_assert_eq!(&toml::from_str::<Config>(&toml).expect(&toml), &config);
        let json = serde_json::to_string(&config).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Config>(&json).expect(&json), &config);
    }

    #[test]
    fn every_key_that_is_written_is_in_force(config in config()) {
        let host = host().config(config.clone()).build().unwrap();
        let (written, in_force) = (serde_json::to_value(&config).unwrap(), serde_json::to_value(host.config()).unwrap());
        prop_assert_eq!(differences("", &written, &in_force), Vec::<String>::new());
    }

    #[test]
    fn what_is_in_force_can_be_written_and_changes_nothing(config in config()) {
        let once = host().config(config).build().unwrap();
        let written = toml::to_string(once.config()).unwrap();
        let again = host().config(toml::from_str(&written).expect(&written)).build().expect(&written);
        prop_assert_eq!(again.config(), once.config());
    }
}

#[test]
fn every_key_is_listed_by_its_path_once() {
    let keys = Config::keys();
    for key in &keys {
        assert_eq!(keys.iter().filter(|other| other.path == key.path).count(), 1, "{}", key.path);
        assert!(!key.accepts.is_empty(), "{}", key.path);
    }
    assert!(keys.iter().any(|key| key.path == "worker.NAME.breaker.probe_max"));
    assert!(keys.iter().any(|key| key.path == "host.stop.drain"));
}
