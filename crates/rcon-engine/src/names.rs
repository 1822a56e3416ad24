//! Two random words for a container without a name.

/// How something is.
const HOW: [&str; 64] = [
    "amber", "ample", "apt", "bold", "brave", "brisk", "calm", "candid", "clear", "clever", "cosy", "crisp", "daring", "deft", "eager",
    "early", "easy", "fair", "fine", "fleet", "fond", "frank", "fresh", "gentle", "glad", "golden", "grand", "green", "handy", "happy",
    "hardy", "honest", "jolly", "keen", "kind", "lively", "loyal", "lucid", "lucky", "mellow", "merry", "mild", "modest", "neat", "nimble",
    "noble", "plain", "polite", "proud", "quick", "quiet", "rapid", "ready", "sharp", "silent", "smart", "snug", "spry", "steady", "sunny",
    "swift", "tidy", "warm", "wise",
];
/// Who it is: birds, for containers come and go.
const WHO: [&str; 64] = [
    "auk",
    "avocet",
    "bittern",
    "bluetit",
    "brant",
    "bunting",
    "buzzard",
    "chough",
    "condor",
    "coot",
    "cormorant",
    "crane",
    "crow",
    "cuckoo",
    "curlew",
    "dipper",
    "dove",
    "dunlin",
    "dunnock",
    "eagle",
    "egret",
    "eider",
    "falcon",
    "finch",
    "gannet",
    "godwit",
    "goose",
    "grebe",
    "gull",
    "harrier",
    "hawk",
    "heron",
    "hobby",
    "hoopoe",
    "ibis",
    "jackdaw",
    "jay",
    "kestrel",
    "kite",
    "knot",
    "lapwing",
    "lark",
    "linnet",
    "magpie",
    "martin",
    "merlin",
    "nuthatch",
    "oriole",
    "osprey",
    "owl",
    "petrel",
    "pipit",
    "plover",
    "puffin",
    "raven",
    "redwing",
    "robin",
    "rook",
    "sparrow",
    "starling",
    "swallow",
    "swan",
    "tern",
    "wren",
];

/// A name from random bytes; `attempt` above 0 adds digits, so that a crowded host finds a free one.
pub(crate) fn random_name(random: [u8; 4], attempt: u32) -> String {
    let [how, who, high, low] = random;
    let name = format!("{}_{}", HOW[usize::from(how) % HOW.len()], WHO[usize::from(who) % WHO.len()]);
    if attempt == 0 { name } else { format!("{name}_{}", u16::from_be_bytes([high, low])) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_random_name_is_a_container_name() {
        for byte in 0..=255 {
            for attempt in 0..2 {
                random_name([byte, 255 - byte, byte, byte], attempt).parse::<rcon_types::ContainerName>().unwrap();
            }
        }
    }
}
