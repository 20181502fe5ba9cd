//! What an operator would see, in simulated time: storms, recoveries, ramps, rests, dry runs, restarts.

use message::{Stage, UnixMicros};
use shaping::{
    AttemptOutcome, Change, Decision, Effect, Event, Mode, Part, Rate, Rules, ScopeKind, Shaper, ShaperSettings,
    Source, Subject,
};
use std::sync::Arc;

/// A shaper and its clock.
struct World {
    shaper: Shaper,
    now: UnixMicros,
}

const SUBJECT: Subject<'static> = Subject { domain: "big.example", site: "mx.big.example", binding: "a", tenant: "t" };

impl World {
    fn new(rules: &str) -> Self {
        Self::with(rules, ShaperSettings::default())
    }

    fn with(rules: &str, settings: ShaperSettings) -> Self {
        let shaper = Shaper::new(parsed(rules), settings);
        Self { shaper, now: UnixMicros::from_seconds(1_800_000_000) }
    }

    fn wait(&mut self, seconds: f64) {
        self.now = UnixMicros(self.now.0 + (seconds * 1e6) as u64);
    }

    fn fails(&mut self, code: u16, text: &str) -> Vec<Decision> {
        self.fails_for(SUBJECT, code, text)
    }

    fn fails_for(&mut self, subject: Subject<'_>, code: u16, text: &str) -> Vec<Decision> {
        let outcome = AttemptOutcome::Failed { stage: Stage::ReadingConfirmation, code, text };
        self.shaper.observe(self.now, &Event { subject, outcome, weight: 1 }).decisions
    }

    fn delivers(&mut self, weight: u32) -> Vec<Decision> {
        let event = Event { subject: SUBJECT, outcome: AttemptOutcome::Delivered, weight };
        self.shaper.observe(self.now, &event).decisions
    }

    fn connections(&self) -> u32 {
        self.shaper.effective(self.now, &SUBJECT).connections(100)
    }

    fn suspended(&self) -> bool {
        self.shaper.effective(self.now, &SUBJECT).suspended_until.is_some()
    }
}

fn parsed(text: &str) -> Arc<Rules> {
    Arc::new(Rules::parse(&[Source { name: "test", text }]).unwrap_or_else(|errors| panic!("{errors}")))
}

const THROTTLED: &str = r#"
    [[rule]]
    name = "throttled"
    domains = ["big.example"]
    codes = ["421"]
    text = "slow down"
    when = "5/1m"
    connections = { factor = 0.5, floor = 3, step = 0.1, every = "1m" }
    rate = { factor = 0.5, floor = "1/1m", step = 0.1, every = "1m" }
    cool_down = "10s"
"#;

#[test]
fn a_storm_of_throttle_replies_is_answered_within_seconds() {
    let mut world = World::new(THROTTLED);
    for _ in 0..120 {
        world.delivers(10);
        world.wait(1.0);
    }
    assert_eq!(world.connections(), 100);
    let began = world.now;
    while world.connections() == 100 {
        world.fails(421, "4.7.0 Slow down");
        world.wait(0.2);
        assert!(began.until(world.now).as_secs() < 5, "no reaction");
    }
    assert_eq!(world.connections(), 50);
    // Ten a second went out before, half of that may now.
    let rate = world.shaper.effective(world.now, &SUBJECT).rate(None).map_or(0, Rate::messages_per_day);
    assert!((400_000..440_000).contains(&rate), "{rate}");
    // What is on its way fails, too, and costs no second reduction before the cool-down is over.
    for _ in 0..40 {
        assert_eq!(world.fails(421, "4.7.0 slow down"), []);
        world.wait(0.2);
    }
    assert_eq!(world.connections(), 50);
    for _ in 0..5_000 {
        world.fails(421, "4.7.0 slow down");
        world.wait(0.1);
    }
    assert_eq!(world.connections(), 3, "the floor");
}

#[test]
fn what_was_reduced_comes_back_in_steps_and_tells_when() {
    let mut world = World::new(THROTTLED);
    (0..5).for_each(|_| drop(world.fails(421, "slow down")));
    let mut steps = vec![world.connections()];
    let mut ended = vec![];
    while let Some(next) = world.shaper.next_change() {
        assert!(next > world.now);
        world.now = next;
        while let Some(decision) = world.shaper.poll_ended(next) {
            ended.push(decision.change);
        }
        steps.push(world.connections());
    }
    assert_eq!(steps, [50, 60, 70, 80, 90, 100]);
    assert_eq!(ended.len(), 2, "{ended:?}");
    assert!(ended.contains(&Change::Ended(Part::ConnectionShare)) && ended.contains(&Change::Ended(Part::RateShare)));
    assert_eq!(world.shaper.counts().adjustments, 0);
}

#[test]
fn other_bindings_and_sites_are_left_alone() {
    let mut world = World::new(THROTTLED);
    (0..5).for_each(|_| drop(world.fails(421, "slow down")));
    let effective = |subject| world.shaper.effective(world.now, &subject).connections(100);
    assert_eq!(effective(SUBJECT), 50);
    assert_eq!(effective(Subject { binding: "b", ..SUBJECT }), 100);
    assert_eq!(effective(Subject { site: "mx.other.example", ..SUBJECT }), 100);
    assert_eq!(effective(Subject { domain: "sibling.example", ..SUBJECT }), 50, "a domain of the same site");
}

#[test]
fn a_suspension_holds_ends_and_can_be_shortened_by_an_equal() {
    let mut world = World::new(
        r#"
        [[rule]]
        name = "blocked"
        domains = ["big.example"]
        codes = ["554"]
        when = "2/1h"
        scope = "site"
        suspend = "4h"
        [[rule]]
        name = "short"
        domains = ["big.example"]
        codes = ["553"]
        scope = "site"
        suspend = "1h"
        "#,
    );
    assert_eq!(world.fails(554, "blocked"), []);
    world.wait(3_599.0);
    let decisions = world.fails(554, "blocked");
    assert_eq!(decisions.len(), 1);
    assert_eq!(decisions[0].scope.kind, ScopeKind::Site);
    assert_eq!(decisions[0].evidence.as_ref().map(|evidence| evidence.matched), Some(2));
    assert!(world.suspended());
    world.wait(3_600.0);
    world.fails(553, "still");
    world.wait(3_599.0);
    assert!(world.suspended());
    world.wait(1.0);
    assert!(!world.suspended());
    let ended = world.shaper.poll_ended(world.now).map(|decision| (decision.rule.to_string(), decision.change));
    assert_eq!(ended, Some(("short".to_owned(), Change::Ended(Part::Suspension))));
    assert_eq!(world.shaper.poll_ended(world.now), None);
}

#[test]
fn events_older_than_the_period_do_not_count() {
    let mut world = World::new(THROTTLED);
    for _ in 0..50 {
        assert_eq!(world.fails(421, "slow down"), []);
        world.wait(15.1);
    }
    assert_eq!(world.connections(), 100);
}

#[test]
fn a_warm_up_of_thirty_days_sends_what_each_day_allows() {
    let mut world = World::new(
        r#"
        [[rule]]
        name = "ramp"
        domains = ["big.example"]
        warm_up = { first = 50, growth = 1.5, count = 30 }
        "#,
    );
    assert_eq!(world.shaper.effective(world.now, &SUBJECT).allowance, Some(50), "before the first delivery");
    for day in 0..30 {
        let cap = (50.0 * 1.5_f64.powi(day)) as u64;
        let mut sent = 0;
        let mut told = vec![];
        loop {
            let effective = world.shaper.effective(world.now, &SUBJECT);
            let Some(left) = effective.allowance.filter(|_| effective.suspended_until.is_none()) else { break };
            let weight = left.div_ceil(3);
            told.extend(world.delivers(weight as u32));
            sent += weight;
        }
        assert_eq!(sent, cap, "day {day}");
        assert_eq!(told.len(), 1, "day {day}: {told:?}");
        let until = world.shaper.effective(world.now, &SUBJECT).suspended_until.expect("the cap is reached");
        assert_eq!(until.seconds(), 1_800_000_000 + 86_400 * (day as u64 + 1));
        world.now = until;
    }
    let effective = world.shaper.effective(world.now, &SUBJECT);
    assert_eq!((effective.allowance, effective.suspended_until), (None, None), "grown up");
}

#[test]
fn a_warm_up_counts_from_a_date() {
    // 1,800,000,000 is 2027-01-15 08:00; the third day of an address from 2027-01-13.
    let mut world = World::new(
        "[[rule]]\nname = \"ramp\"\nbindings = [\"a\"]\nwarm_up = { days = [10, 20, 30, 40], since = 2027-01-13 }",
    );
    let allowance = |world: &World| world.shaper.effective(world.now, &SUBJECT).allowance;
    assert_eq!(allowance(&world), Some(30));
    world.delivers(30);
    assert_eq!(allowance(&world), Some(0));
    world.wait(16.0 * 3_600.0);
    assert_eq!(allowance(&world), Some(40));
}

#[test]
fn a_warm_up_counts_from_the_binding_s_birth_unless_the_rule_says_otherwise() {
    let rule = "[[rule]]\nname = \"ramp\"\nbindings = [\"a\"]\nwarm_up = { days = [10, 20, 30, 40]";
    let birth = UnixMicros::from_seconds(1_800_000_000 - 2 * 86_400);
    for (ending, day_3) in [(" }", 30), (", since = 2027-01-14 }", 20)] {
        let mut world = World::new(&format!("{rule}{ending}"));
        world.shaper.set_births([("a".into(), birth)]);
        assert_eq!(world.shaper.effective(world.now, &SUBJECT).allowance, Some(day_3));
        world.delivers(4);
        assert_eq!(world.shaper.effective(world.now, &SUBJECT).allowance, Some(day_3 - 4));
        let rows = world.shaper.standing_for(world.now, &SUBJECT);
        assert_eq!((rows[0].part, rows[0].value.clone()), (Part::WarmUp, format!("{} messages left", day_3 - 4)));
        assert_eq!(world.shaper.standing(world.now), rows);
    }
}

#[test]
fn what_holds_says_when_it_changes_and_of_which_scope_its_rates_are() {
    let site = "\n[[rule]]\nname = \"all\"\ndomains = [\"big.example\"]\ntext = \"stop\"\nscope = \"site\"\n\
                rate = { to = \"5/1s\", for = \"30s\" }\n";
    let mut world = World::new(&format!("{THROTTLED}{site}"));
    assert!(world.shaper.is_idle());
    for _ in 0..5 {
        world.fails(421, "slow down");
    }
    world.fails(421, "stop");
    assert!(!world.shaper.is_idle());
    let effective = world.shaper.effective(world.now, &SUBJECT);
    assert_eq!(effective.rate_of(ScopeKind::Site), Some(Rate::per_day(5 * 86_400)));
    assert_eq!(effective.rate_of(ScopeKind::Tenant), None);
    assert!(effective.rate_of(ScopeKind::BindingSite) < effective.rate_of(ScopeKind::Site));
    assert_eq!(effective.rate(None), effective.rate_of(ScopeKind::BindingSite));
    assert_eq!(effective.changes_at, Some(world.now.after(std::time::Duration::from_secs(30))));
}

/// What is told agrees with what is effective, whatever the mode became meanwhile.
#[test]
fn nothing_is_told_to_hold_that_does_not() {
    let mut world = World::new(THROTTLED);
    (0..5).for_each(|_| drop(world.fails(421, "slow down")));
    let scope = world.shaper.standing(world.now)[0].scope.clone();
    assert_eq!(world.shaper.standing_for(world.now, &SUBJECT)[0].effect, Effect::Applied);
    world.shaper.set_mode(Mode::DryRun);
    assert_eq!(world.shaper.effective(world.now, &SUBJECT), shaping::Adjustments::default());
    assert_eq!(world.shaper.standing_for(world.now, &SUBJECT), []);
    assert_eq!(world.shaper.standing(world.now)[0].effect, Effect::DryRun);
    assert!(world.shaper.lift(world.now, &scope).is_some() && world.shaper.lift(world.now, &scope).is_none());
    // What a dry run would have done can be lifted, too.
    let mut world = World::with(THROTTLED, ShaperSettings { mode: Mode::DryRun, ..ShaperSettings::default() });
    (0..5).for_each(|_| drop(world.fails(421, "slow down")));
    let lifted = world.shaper.lift(world.now, &scope).expect("it is listed");
    assert_eq!(lifted.effect, Effect::DryRun);
    assert_eq!(world.shaper.standing(world.now), []);
}

#[test]
fn a_dry_run_tells_the_same_and_changes_nothing() {
    let dry = format!("{THROTTLED}\n    dry_run = true");
    let settings = ShaperSettings { mode: Mode::DryRun, ..ShaperSettings::default() };
    let mut real = World::new(THROTTLED);
    for mut world in [World::new(&dry), World::with(THROTTLED, settings)] {
        real.now = world.now;
        real.shaper = Shaper::new(parsed(THROTTLED), ShaperSettings::default());
        for _ in 0..500 {
            let (told, done) = (world.fails(421, "slow down"), real.fails(421, "slow down"));
            let changes = |decisions: &[Decision]| decisions.iter().map(|it| it.change.clone()).collect::<Vec<_>>();
            assert_eq!(changes(&told), changes(&done));
            assert!(told.iter().all(|decision| decision.effect == Effect::DryRun));
            world.wait(0.5);
            real.wait(0.5);
            assert_eq!(world.connections(), 100);
        }
        assert!(real.connections() < 10);
        assert_eq!(world.shaper.counts().applied, 0);
        assert!(world.shaper.counts().told > 10);
    }
}

#[test]
fn off_observes_nothing() {
    let mut world = World::with(THROTTLED, ShaperSettings { mode: Mode::Off, ..ShaperSettings::default() });
    for _ in 0..50 {
        assert_eq!(world.fails(421, "slow down"), []);
    }
    assert_eq!(world.shaper.counts().evidence, 0);
}

#[test]
fn the_higher_rule_wins_and_the_lower_is_told_as_overruled() {
    let mut world = World::new(
        r#"
        [[rule]]
        name = "low"
        domains = ["big.example"]
        codes = ["4xx"]
        suspend = "4h"
        connections = { to = 7, for = "1h" }
        [[rule]]
        name = "high"
        domains = ["big.example"]
        codes = ["421"]
        suspend = "1h"
        priority = 1
        "#,
    );
    let decisions = world.fails(421, "x");
    let told: Vec<_> = decisions.iter().map(|it| (it.rule.to_string(), it.effect.word())).collect();
    assert_eq!(told, [("high".into(), "applied"), ("low".into(), "overruled"), ("low".to_string(), "applied")]);
    let until = world.shaper.effective(world.now, &SUBJECT).suspended_until;
    assert_eq!(until, Some(world.now.after(std::time::Duration::from_secs(3_600))));
    assert_eq!(world.connections(), 7);
    world.wait(120.0);
    let decisions = world.fails(450, "only the lower sees this");
    assert_eq!(decisions[0].effect, Effect::Overruled("high".into()));
    assert_eq!(world.shaper.effective(world.now, &SUBJECT).suspended_until, until);
}

#[test]
fn stop_keeps_a_reply_from_lower_rules() {
    let mut world = World::new(
        r#"
        [[rule]]
        name = "known"
        domains = ["big.example"]
        codes = ["421"]
        text = "per connection"
        set = { max_deliveries_per_connection = 5, for = "1h" }
        stop = true
        priority = 1
        [[rule]]
        name = "other"
        domains = ["big.example"]
        codes = ["421"]
        suspend = "1h"
        "#,
    );
    assert_eq!(world.fails(421, "max messages per connection").len(), 1);
    assert!(!world.suspended());
    let option = shaping::ShapedOption::MaxDeliveriesPerConnection;
    assert_eq!(world.shaper.effective(world.now, &SUBJECT).option(option), Some(5));
    world.fails(421, "something else");
    assert!(world.suspended());
}

#[test]
fn a_rewrite_is_given_for_each_reply_that_matches() {
    let mut world = World::new(
        r#"
        [[rule]]
        name = "soft"
        domains = ["big.example"]
        codes = ["550"]
        text = "try tomorrow"
        rewrite = "transient"
        "#,
    );
    let mut rewrite = |code, text| {
        let outcome = AttemptOutcome::Failed { stage: Stage::AfterRcpt, code, text };
        world.shaper.observe(world.now, &Event { subject: SUBJECT, outcome, weight: 1 })
    };
    for _ in 0..3 {
        let observed = rewrite(550, "5.7.1 Try tomorrow");
        assert_eq!(observed.rewrite, Some(shaping::Rewrite::ToTransient));
        assert_eq!(observed.decisions.len(), 1);
    }
    assert_eq!(rewrite(550, "5.1.1 unknown").rewrite, None);
}

#[test]
fn a_share_of_attempts_needs_enough_of_them() {
    let mut world = World::new(
        r#"
        [[rule]]
        name = "refused"
        domains = ["big.example"]
        codes = ["5xx"]
        when = "10%/10m"
        at_least = 200
        suspend = "1h"
        "#,
    );
    for _ in 0..100 {
        assert_eq!(world.fails(550, "no"), [], "100 of 100, but too few");
    }
    world.delivers(1_900);
    for _ in 0..111 {
        assert_eq!(world.fails(550, "no"), [], "below a tenth");
    }
    let decisions = world.fails(550, "no");
    let evidence = decisions[0].evidence.as_ref().map(|evidence| (evidence.matched, evidence.tried));
    assert_eq!(evidence, Some((212, Some(2_112))));
    assert!(world.suspended());
}

#[test]
fn a_tenant_is_told_from_others() {
    let mut world = World::new(
        "[[rule]]\nname = \"spam\"\ndomains = [\"*\"]\nconfirm = \"everything\"\ncodes = [\"550\"]\ntext = \"spam\"\n\
         scope = \"tenant\"\nsuspend = \"1h\"",
    );
    world.fails(550, "5.7.1 spam");
    let suspended = |subject| world.shaper.effective(world.now, &subject).suspended_until.is_some();
    assert!(suspended(SUBJECT));
    assert!(suspended(Subject { domain: "x.example", site: "y.example", ..SUBJECT }), "everywhere");
    assert!(!suspended(Subject { tenant: "other", ..SUBJECT }));
    assert!(!suspended(Subject { tenant: "", ..SUBJECT }));
    let decisions = world.fails_for(Subject { tenant: "", ..SUBJECT }, 550, "spam");
    assert_eq!(decisions, [], "nobody's mail suspends nobody");
}

#[test]
fn an_operator_lifts_what_stands() {
    let mut world = World::new(THROTTLED);
    (0..5).for_each(|_| drop(world.fails(421, "slow down")));
    let standing = world.shaper.standing(world.now);
    let rows: Vec<_> = standing.iter().map(|row| (row.part, row.value.as_str())).collect();
    assert_eq!(rows, [(Part::ConnectionShare, "50%"), (Part::RateShare, "15/1m")]);
    let scope = standing[0].scope.clone();
    assert_eq!(world.shaper.lift(world.now, &scope).map(|decision| decision.change), Some(Change::Lifted));
    assert_eq!(world.connections(), 100);
    assert_eq!(world.shaper.lift(world.now, &scope), None);
    assert_eq!(world.shaper.next_change(), None);
}

#[test]
fn other_rules_keep_what_has_not_changed() {
    let mut world = World::new(THROTTLED);
    (0..4).for_each(|_| drop(world.fails(421, "slow down")));
    let higher = THROTTLED.replace("0.5", "0.25");
    world.shaper.replace_rules(parsed(&higher));
    world.fails(421, "slow down");
    assert_eq!(world.connections(), 25, "four replies before and one after");
    world.wait(11.0);
    (0..4).for_each(|_| drop(world.fails(421, "slow down")));
    world.shaper.replace_rules(parsed(&THROTTLED.replace("5/1m", "6/1m")));
    (0..2).for_each(|_| drop(world.fails(421, "slow down")));
    assert_eq!(world.connections(), 25, "another threshold counts anew");
}

#[test]
fn the_record_of_a_decision_reads_well() {
    let mut world = World::new(THROTTLED);
    let decisions: Vec<_> = (0..5).flat_map(|_| world.fails(421, "4.7.0 slow down\nplease\r")).collect();
    assert_eq!(
        decisions[0].to_string(),
        "rule throttled, binding-site a mx.big.example: connections 100% to 50% (5 in 1m: 421 4.7.0 slow down please )"
    );
}
