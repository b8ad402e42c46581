//! The order of the steps, whatever their results are.

use proptest::prelude::*;

use super::*;

/// The steps of a turn in which all steps succeed.
fn steps(turn: &mut Turn<u32>) -> Vec<TurnStep> {
    let mut steps = vec![turn.step()];
    while turn.advance(Outcome::Done) != TurnStep::Wait {
        steps.push(turn.step());
    }
    steps
}

fn take(from: u16) -> TurnStep {
    TurnStep::Take {
        from,
        messages_max: u32::MAX,
    }
}

const REST: [TurnStep; 6] = [
    TurnStep::Handle,
    TurnStep::RunTimers,
    TurnStep::Push,
    TurnStep::Flush,
    TurnStep::Close,
    TurnStep::ChangeReceiving,
];

#[test]
fn a_shard_alone_takes_from_nobody() {
    let mut turn = Turn::new(0, 1);
    assert_eq!(steps(&mut turn), [&[TurnStep::Wait][..], &REST].concat());
}

#[test]
fn each_of_the_others_is_asked_once() {
    for (shard, others) in [(0, [1, 2]), (1, [0, 2]), (2, [0, 1])] {
        let mut turn = Turn::new(shard, 3);
        let head = [TurnStep::Wait, take(others[0]), take(others[1])];
        assert_eq!(steps(&mut turn), [&head[..], &REST].concat(), "shard {shard}");
    }
}

#[test]
fn connections_are_adopted_after_a_second_look() {
    let mut turn = Turn::new(0, 3);
    assert_eq!(turn.advance(Outcome::Done), take(1));
    turn.arrived(7);
    assert_eq!(turn.advance(Outcome::Done), take(2));
    assert_eq!(turn.advance(Outcome::Done), take(1));
    // One that arrives with the second look waits for the next turn.
    turn.arrived(8);
    assert_eq!(turn.advance(Outcome::Done), take(2));
    assert_eq!(turn.advance(Outcome::Done), TurnStep::Adopt);
    assert_eq!(turn.take_adoptable(), [7]);
    assert!(turn.has_arrivals());
    assert_eq!(steps(&mut turn)[1..], REST);
    let next = [take(1), take(2), take(1), take(2), TurnStep::Adopt];
    for step in next {
        assert_eq!(turn.advance(Outcome::Done), step);
    }
    assert_eq!(turn.take_adoptable(), [8]);
    assert!(!turn.has_arrivals());
}

#[test]
fn a_full_turn_flushes_and_goes_on_with_what_is_left() {
    let mut turn = Turn::<()>::new(1, 2);
    turn.advance(Outcome::Done);
    let rest = TurnStep::Take {
        from: 0,
        messages_max: 3,
    };
    assert_eq!(turn.advance(Outcome::Full { left: 3 }), TurnStep::Push);
    assert_eq!(turn.advance(Outcome::Done), TurnStep::Flush);
    assert_eq!(turn.advance(Outcome::Done), rest);
    assert_eq!(turn.advance(Outcome::Full { left: 3 }), TurnStep::Push);
    assert_eq!(turn.advance(Outcome::Blocked), TurnStep::FlushIndependent);
    assert_eq!(turn.advance(Outcome::Done), rest);
    assert_eq!(turn.advance(Outcome::Done), TurnStep::Handle);
}

#[test]
fn a_blocked_turn_closes_nothing_and_flushes_what_depends_on_nobody() {
    let mut turn = Turn::<()>::new(0, 1);
    while turn.step() != TurnStep::Push {
        turn.advance(Outcome::Done);
    }
    assert_eq!(turn.advance(Outcome::Blocked), TurnStep::FlushIndependent);
    assert_eq!(turn.advance(Outcome::Done), TurnStep::ChangeReceiving);
    assert_eq!(turn.advance(Outcome::Done), TurnStep::Wait);
}

fn outcome() -> impl Strategy<Value = (Outcome, bool)> {
    let outcome = prop_oneof![
        4 => Just(Outcome::Done),
        1 => (0_u32..3).prop_map(|left| Outcome::Full { left }),
        1 => Just(Outcome::Blocked),
    ];
    (outcome, prop::bool::weighted(0.2))
}

proptest! {
    /// Whatever the results: a flush comes after a push that left nothing, bytes are handled after every queue was
    /// examined, connections are adopted after a complete second look, and each is adopted once.
    #[test]
    fn the_order_is_kept(shard in 0_u16..4, more in 0_u16..4, outcomes in prop::collection::vec(outcome(), 0..200)) {
        let shards = shard + 1 + more;
        let mut turn = Turn::new(shard, shards);
        let mut looks_since = Vec::new();
        let mut looked = vec![false; usize::from(shards)];
        let (mut before, mut next, mut adopted) = ((TurnStep::Wait, Outcome::Done), 0_u32, 0_u32);
        for (outcome, arrives) in outcomes {
            let step = turn.step();
            let outcome = match (step, outcome) {
                (TurnStep::Take { messages_max, .. }, Outcome::Full { left }) => {
                    let left = left.min(messages_max);
                    Outcome::Full { left }
                }
                (TurnStep::Push, Outcome::Blocked) => Outcome::Blocked,
                _ => Outcome::Done,
            };
            match step {
                TurnStep::Wait => looked.fill(false),
                TurnStep::Take { from, .. } => {
                    prop_assert_ne!(from, shard);
                    looked[usize::from(from)] = true;
                    looks_since.iter_mut().for_each(|looks: &mut Vec<bool>| looks[usize::from(from)] = true);
                    if arrives {
                        turn.arrived(next);
                        next += 1;
                        let mut looks = vec![false; usize::from(shards)];
                        // Its own queue is being examined; what was in it before was taken.
                        looks[usize::from(from)] = true;
                        looks_since.push(looks);
                    }
                }
                TurnStep::Adopt => {
                    for connection in turn.take_adoptable() {
                        prop_assert_eq!(connection, adopted);
                        adopted += 1;
                        let looks = &looks_since[connection as usize];
                        let all = (0..shards).filter(|&other| other != shard).all(|other| looks[usize::from(other)]);
                        prop_assert!(all, "not all queues were looked at since it came");
                    }
                }
                TurnStep::Handle => {
                    let all = (0..shards).filter(|&other| other != shard).all(|other| looked[usize::from(other)]);
                    prop_assert!(all, "not all queues were looked at in this turn");
                }
                TurnStep::Flush => prop_assert_eq!(before, (TurnStep::Push, Outcome::Done)),
                TurnStep::FlushIndependent => prop_assert_eq!(before, (TurnStep::Push, Outcome::Blocked)),
                TurnStep::Close => prop_assert_eq!(before.0, TurnStep::Flush),
                TurnStep::RunTimers | TurnStep::Push | TurnStep::ChangeReceiving => {}
            }
            before = (step, outcome);
            turn.advance(outcome);
        }
    }
}
