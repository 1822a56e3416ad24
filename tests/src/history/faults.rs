//! What the nemesis does, as values: which faults, to whom, in which order.

use std::fmt;

use rand::prelude::*;

/// One fault, from its beginning until it is mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fault {
    /// What happens.
    pub kind: Kind,
    /// To whom.
    pub victims: Victims,
}

/// What happens to its victims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `rcond` is killed; what it wrote is still in the page cache.
    Kill,
    /// The host loses its power, and what it did not sync.
    PowerOff,
    /// All processes of the host stand still, and go on later as if nothing had been.
    Freeze,
    /// The victims and the others cannot talk to each other.
    Partition,
    /// The victims hear the others and are not heard.
    Mute,
    /// The victims are heard and do not hear the others.
    Deaf,
}

/// Who suffers: whoever leads then, or not, and so many of those who follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Victims {
    /// Whether the leader is one of them.
    pub leader: bool,
    /// How many others are.
    pub followers: usize,
}

/// Each kind with victims that matter to five managers: the leader, a follower, a minority, a majority, everybody.
const ALL: [Fault; 15] = [
    fault(Kind::Kill, true, 0),
    fault(Kind::Kill, false, 1),
    fault(Kind::Kill, true, 4),
    fault(Kind::PowerOff, true, 0),
    fault(Kind::PowerOff, false, 2),
    fault(Kind::PowerOff, true, 2),
    fault(Kind::PowerOff, true, 4),
    fault(Kind::Freeze, true, 0),
    fault(Kind::Freeze, false, 2),
    fault(Kind::Partition, true, 0),
    fault(Kind::Partition, true, 1),
    fault(Kind::Partition, false, 2),
    fault(Kind::Mute, true, 0),
    fault(Kind::Mute, false, 1),
    fault(Kind::Deaf, true, 0),
];

const fn fault(kind: Kind, leader: bool, followers: usize) -> Fault {
    Fault { kind, victims: Victims { leader, followers } }
}

/// That many faults in an order drawn from the seed: each once before one comes again.
#[must_use]
pub fn draw(count: usize, random: &mut StdRng) -> Vec<Fault> {
    let mut drawn = Vec::with_capacity(count);
    while drawn.len() < count {
        let mut round = ALL;
        round.shuffle(random);
        drawn.extend(round.into_iter().take(count - drawn.len()));
    }
    drawn
}

impl Victims {
    /// Their names, out of all hosts; the leader is the last of them, so that the others are hit before they can elect another.
    #[must_use]
    pub fn choose(self, hosts: &[String], leader: &str, random: &mut StdRng) -> Vec<String> {
        let mut followers: Vec<&String> = hosts.iter().filter(|host| *host != leader).collect();
        followers.shuffle(random);
        let leader = self.leader.then(|| leader.to_owned());
        followers.into_iter().take(self.followers).cloned().chain(leader).collect()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of ", self.kind)?;
        match (self.victims.leader, self.victims.followers) {
            (true, 0) => f.write_str("the leader"),
            (true, others) => write!(f, "the leader and {others} more"),
            (false, others) => write!(f, "{others} of the followers"),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "kill",
            Self::PowerOff => "power-off",
            Self::Freeze => "freeze",
            Self::Partition => "partition",
            Self::Mute => "one-way partition (not heard)",
            Self::Deaf => "one-way partition (not hearing)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fifteen_faults_are_each_of_them_once_and_the_seed_gives_their_order() {
        let [first, again, other] = [1, 1, 2].map(|seed| draw(15, &mut StdRng::seed_from_u64(seed)));
        assert!(ALL.iter().all(|fault| first.contains(fault)));
        assert_eq!(first, again);
        assert_ne!(first, other);
        assert_eq!(draw(100, &mut StdRng::seed_from_u64(1)).len(), 100);
    }

    #[test]
    fn victims_are_the_leader_and_others_as_asked() {
        let hosts = ["h1", "h2", "h3", "h4", "h5"].map(str::to_owned);
        let mut random = StdRng::seed_from_u64(1);
        for fault in ALL {
            let victims = fault.victims.choose(&hosts, "h3", &mut random);
            let others = victims.iter().filter(|host| *host != "h3").count();
            assert_eq!((victims.contains(&"h3".to_owned()), others), (fault.victims.leader, fault.victims.followers), "{fault}");
        }
    }
}
