//! From rules by number to a program for the kernel's filter machine: pure.
//!
//! Each ABI's numbers are cut into intervals with one verdict, found by binary search, so that a system call costs about eight instructions
//! instead of the hundreds of a chain. libseccomp would do (it is the oracle in the tests), but takes 13 ms for a profile of three ABIs,
//! since it copies all rules for each one that is added.

use std::collections::BTreeMap;

/// One instruction, as in `struct sock_filter` of linux/filter.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// What to do.
    pub code: u16,
    /// How many to skip where a comparison holds.
    pub jt: u8,
    /// How many where it does not.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

// linux/bpf_common.h
const LOAD_WORD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_GREATER: u16 = 0x25;
const IF_GREATER_OR_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;

// Offsets in `struct seccomp_data` of linux/seccomp.h.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
const ARGUMENTS_AT: u32 = 16;

/// How an argument is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `argument & mask == value`.
    Masked {
        /// The bits that are looked at.
        mask: u64,
    },
    /// `argument != value`.
    NotEqual,
    /// `argument < value`.
    Less,
    /// `argument <= value`.
    LessOrEqual,
    /// `argument > value`.
    Greater,
    /// `argument >= value`.
    GreaterOrEqual,
}

/// A condition on one of the six arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// Which, from 0.
    pub index: u32,
    /// How.
    pub comparison: Comparison,
    /// With what.
    pub value: u64,
}

/// What becomes of one system call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// The first whose conditions all hold decides.
    pub cases: Vec<(Vec<Condition>, u32)>,
    /// Else this, else the default.
    pub otherwise: Option<u32>,
}

/// The rules of the calls that one architecture token stands for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// By number.
    pub rules: BTreeMap<u32, Rule>,
    /// Where numbers begin that were never heard of, and where those end, for each ABI; they get [`Profile::unknown`].
    pub unknown: Vec<(u32, u32)>,
}

/// A whole profile. Verdicts are values of `SECCOMP_RET_*`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// By architecture token (`AUDIT_ARCH_*`); others get `foreign`.
    pub tables: Vec<(u32, Table)>,
    /// For numbers without a rule.
    pub default: u32,
    /// For numbers that are newer than the rules.
    pub unknown: u32,
    /// For calls of an architecture without a table.
    pub foreign: u32,
}

/// The program.
pub fn assemble(profile: &Profile) -> Vec<Instruction> {
    let mut program = vec![load(ARCHITECTURE_AT)];
    for (architecture, table) in &profile.tables {
        let mut section = vec![load(NUMBER_AT)];
        section.extend(search(&intervals(profile, table), profile.default));
        // Skips by a jump of its own: a section is longer than a comparison can skip.
        program.push(compare(IF_EQUAL, *architecture, 1, 0));
        program.push(jump(section.len()));
        program.extend(section);
    }
    program.push(answer(profile.foreign));
    program
}

/// From where on a verdict holds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Interval<'a> {
    from: u32,
    verdict: Verdict<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict<'a> {
    Plain(u32),
    Cases(&'a Rule),
}

/// Covers all numbers, neighbours differ.
fn intervals<'a>(profile: &Profile, table: &'a Table) -> Vec<Interval<'a>> {
    let mut marks: BTreeMap<u32, Verdict<'a>> = BTreeMap::from([(0, Verdict::Plain(profile.default))]);
    for (from, to) in &table.unknown {
        marks.insert(*from, Verdict::Plain(profile.unknown));
        if let Some(after) = to.checked_add(1) {
            marks.entry(after).or_insert(Verdict::Plain(profile.default));
        }
    }
    for (number, rule) in &table.rules {
        let verdict = match rule.otherwise {
            Some(plain) if rule.cases.is_empty() => Verdict::Plain(plain),
            _ => Verdict::Cases(rule),
        };
        marks.insert(*number, verdict);
        if let Some(after) = number.checked_add(1) {
            marks.entry(after).or_insert(Verdict::Plain(profile.default));
        }
    }
    let mut all: Vec<Interval<'a>> = Vec::new();
    for (from, verdict) in marks {
        if all.last().is_none_or(|last| last.verdict != verdict || matches!(verdict, Verdict::Cases(_))) {
            all.push(Interval { from, verdict });
        }
    }
    all
}

/// Finds the interval of the number in the accumulator.
fn search(intervals: &[Interval<'_>], default: u32) -> Vec<Instruction> {
    match intervals {
        [] => vec![answer(default)],
        [one] => match one.verdict {
            Verdict::Plain(value) => vec![answer(value)],
            Verdict::Cases(rule) => cases(rule, default),
        },
        many => {
            let (left, right) = many.split_at(many.len() / 2);
            let below = search(left, default);
            let from = right[0].from;
            let mut code = match u8::try_from(below.len()) {
                Ok(skip) => vec![compare(IF_GREATER_OR_EQUAL, from, skip, 0)],
                Err(_) => vec![compare(IF_GREATER_OR_EQUAL, from, 0, 1), jump(below.len())],
            };
            code.extend(below);
            code.extend(search(right, default));
            code
        }
    }
}

fn cases(rule: &Rule, default: u32) -> Vec<Instruction> {
    let mut code = Vec::new();
    for (conditions, verdict) in &rule.cases {
        // Each condition is at most six instructions, and there are at most six arguments: everything is in reach of a comparison.
        let mut block = vec![answer(*verdict)];
        for condition in conditions.iter().rev() {
            let mut test = check(condition, u8::try_from(block.len()).unwrap_or(u8::MAX));
            test.extend(block);
            block = test;
        }
        code.extend(block);
    }
    code.push(answer(rule.otherwise.unwrap_or(default)));
    code
}

/// Falls through where the condition holds, else skips `rest` instructions behind itself.
fn check(condition: &Condition, rest: u8) -> Vec<Instruction> {
    let at = ARGUMENTS_AT + 8 * condition.index;
    let (low_at, high_at) = if cfg!(target_endian = "little") { (at, at + 4) } else { (at + 4, at) };
    let halves = |value: u64| ((value >> 32) as u32, (value & 0xffff_ffff) as u32);
    let (high, low) = halves(condition.value);
    match condition.comparison {
        Comparison::Masked { mask } => {
            let (mask_high, mask_low) = halves(mask);
            vec![
                load(high_at),
                Instruction { code: AND, jt: 0, jf: 0, k: mask_high },
                compare(IF_EQUAL, high, 0, rest + 3),
                load(low_at),
                Instruction { code: AND, jt: 0, jf: 0, k: mask_low },
                compare(IF_EQUAL, low, 0, rest),
            ]
        }
        Comparison::NotEqual => vec![load(high_at), compare(IF_EQUAL, high, 0, 2), load(low_at), compare(IF_EQUAL, low, rest, 0)],
        Comparison::Greater | Comparison::GreaterOrEqual => {
            let last = if condition.comparison == Comparison::Greater { IF_GREATER } else { IF_GREATER_OR_EQUAL };
            vec![
                load(high_at),
                compare(IF_GREATER, high, 3, 0),
                compare(IF_EQUAL, high, 0, rest + 2),
                load(low_at),
                compare(last, low, 0, rest),
            ]
        }
        Comparison::Less | Comparison::LessOrEqual => {
            let last = if condition.comparison == Comparison::Less { IF_GREATER_OR_EQUAL } else { IF_GREATER };
            vec![
                load(high_at),
                compare(IF_GREATER, high, rest + 3, 0),
                compare(IF_EQUAL, high, 0, 2),
                load(low_at),
                compare(last, low, rest, 0),
            ]
        }
    }
}

const fn load(offset: u32) -> Instruction {
    Instruction { code: LOAD_WORD, jt: 0, jf: 0, k: offset }
}

const fn answer(value: u32) -> Instruction {
    Instruction { code: RETURN, jt: 0, jf: 0, k: value }
}

const fn compare(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

fn jump(over: usize) -> Instruction {
    Instruction { code: JUMP, jt: 0, jf: 0, k: u32::try_from(over).unwrap_or(u32::MAX) }
}
