//! Writing our table: all of it in one transaction, which the kernel does whole or not at all.
//!
//! A transaction takes effect for each chain at one instant, but a packet that is between two chains at that instant sees
//! the old state of one and the new state of the other. So chains that stand are kept and only their rules are exchanged;
//! when a chain is replaced by another one at the same hook, about one connection in 20,000 swaps meets neither's rules.

use backends::ruleset::{Chain, ChainKind, Rule, Ruleset, Verdict};

use super::batch::Batch;
use super::chain::{self, CHAIN_NAME, CHAIN_TABLE};
use super::{
    GENERIC, Kind, LIST_ELEMENT, NO_NFTABLES, RULE_CHAIN, RULE_EXPRESSIONS, RULE_TABLE, RULE_USERDATA, TABLE_NAME,
    TABLE_USERDATA, observation, rule,
};
use crate::error::{Error, Refusal, Result};
use crate::netlink::Socket;

/// The comment on each of our rules, for people who read `nft list ruleset`.
const COMMENT: &str = "towpath";

/// Octets of a comment: its length with the NUL is one octet.
const LONGEST_COMMENT: usize = 254;

/// A comment as libnftnl writes it into the userdata: type `NFTNL_UDATA_…_COMMENT` (0), length, text, NUL.
pub(super) fn comment(text: &str) -> Vec<u8> {
    let text = &text.as_bytes()[..text.len().min(LONGEST_COMMENT)];
    // At most 255.
    let length = (text.len() + 1) as u8;
    [&[0, length], text, &[0]].concat()
}

/// How often to begin again when somebody's transactions come between the look at the table and ours.
const ATTEMPTS: u32 = 100;

/// See [`super::Table::replace`].
pub(super) fn replace(socket: &mut Socket, (table, owner): (&str, &str), ruleset: Option<&Ruleset>) -> Result<()> {
    if let Some(ruleset) = ruleset {
        check(table, ruleset)?;
    }
    for _ in 0..ATTEMPTS {
        let footing = observation::footing(socket, (table, owner))?;
        let mut transaction = Transaction::begin(socket, (table, owner), footing.generation);
        match (ruleset, &footing.chains) {
            (Some(ruleset), Some(chains)) => transaction.refill(chains, ruleset),
            (Some(ruleset), None) => transaction.remake(ruleset),
            (None, _) => transaction.push(Step::Removal, Kind::DeleteTable, 0),
        }
        match transaction.commit(socket)? {
            None => return Ok(()),
            Some((Step::Removal, refusal)) if refusal.errno == libc::ENOENT => return Ok(()),
            // Another generation than the one that was looked at.
            Some((Step::Whole, refusal)) if refusal.errno == libc::ERESTART => {}
            Some((step, refusal)) => return Err(step.error(table, refusal)),
        }
    }
    Err(Error::Unsettled { doing: Step::Whole.doing(table), attempts: ATTEMPTS })
}

/// Refuses what the types allow only because it can be observed.
fn check(table: &str, ruleset: &Ruleset) -> Result<()> {
    let refuse = |step: Step<'_>, errno, words: Option<&str>| {
        Err(step.error(table, Refusal { errno, words: words.map(str::to_owned) }))
    };
    for (at, Chain { kind, rules }) in ruleset.chains.iter().enumerate() {
        if ruleset.chains[..at].iter().any(|before| before.kind == *kind) {
            return refuse(Step::Chain(*kind), libc::EEXIST, None);
        }
        let foreign = rules.iter().position(|rule| rule.verdict == Verdict::Foreign);
        let words = Some("what is not ours is never written");
        match foreign {
            Some(at) => {
                return refuse(Step::Rule { chain: *kind, number: at + 1, rule: &rules[at] }, libc::EINVAL, words);
            }
            None if *kind == ChainKind::Foreign => return refuse(Step::Chain(*kind), libc::EINVAL, words),
            None => {}
        }
    }
    Ok(())
}

/// What one message of the transaction is for.
#[derive(Clone, Copy)]
enum Step<'a> {
    Whole,
    Removal,
    Table,
    Chain(ChainKind),
    /// Its rules are taken out.
    Emptied(ChainKind),
    /// It is not wanted any more.
    Surplus(ChainKind),
    Rule {
        chain: ChainKind,
        number: usize,
        rule: &'a Rule,
    },
}

struct Transaction<'a> {
    table: &'a str,
    owner: &'a str,
    batch: Batch,
    /// What each message of the batch is for, its beginning among them.
    steps: Vec<Step<'a>>,
}

impl<'a> Transaction<'a> {
    /// `generation` is the one that the transaction is meant for; in another one it is refused (ERESTART).
    fn begin(socket: &mut Socket, (table, owner): (&'a str, &'a str), generation: Option<u32>) -> Transaction<'a> {
        let batch = Batch::begin(socket.next_sequence(), generation);
        Transaction { table, owner, batch, steps: vec![Step::Whole] }
    }

    /// For a table in which all is in its place but, perhaps, rules.
    fn refill(&mut self, standing: &[ChainKind], ruleset: &'a Ruleset) {
        self.push(Step::Table, Kind::NewTable, libc::NLM_F_CREATE);
        let surplus = standing.iter().filter(|kind| !ruleset.chains.iter().any(|chain| chain.kind == **kind));
        for kind in surplus {
            self.push(Step::Surplus(*kind), Kind::DeleteChain, 0);
        }
        for chain in &ruleset.chains {
            if standing.contains(&chain.kind) {
                self.push(Step::Emptied(chain.kind), Kind::DeleteRule, 0);
                self.rules(chain);
            } else {
                self.chain(chain);
            }
        }
    }

    /// For a table that is not there, or in which anything else may be. Create, delete, create: the deletion succeeds
    /// whether there was a table or not, and takes everything in it along.
    fn remake(&mut self, ruleset: &'a Ruleset) {
        self.push(Step::Table, Kind::NewTable, libc::NLM_F_CREATE);
        self.push(Step::Table, Kind::DeleteTable, 0);
        self.push(Step::Table, Kind::NewTable, libc::NLM_F_CREATE);
        ruleset.chains.iter().for_each(|chain| self.chain(chain));
    }

    fn chain(&mut self, chain: &'a Chain) {
        self.push(Step::Chain(chain.kind), Kind::NewChain, libc::NLM_F_CREATE | libc::NLM_F_EXCL);
        self.rules(chain);
    }

    fn rules(&mut self, chain: &'a Chain) {
        for (index, rule) in chain.rules.iter().enumerate() {
            let step = Step::Rule { chain: chain.kind, number: index + 1, rule };
            self.push(step, Kind::NewRule, libc::NLM_F_CREATE | libc::NLM_F_APPEND);
        }
    }

    fn push(&mut self, step: Step<'a>, kind: Kind, flags: i32) {
        let (table, owner) = (self.table, self.owner);
        self.batch.push((kind.number(), flags as u16), |body| {
            body.fixed(&GENERIC);
            match step {
                Step::Whole => {}
                Step::Removal => body.text(TABLE_NAME, table),
                Step::Table => {
                    body.text(TABLE_NAME, table);
                    body.bytes(TABLE_USERDATA, &comment(owner));
                }
                Step::Chain(kind) => {
                    body.text(CHAIN_TABLE, table);
                    chain::encode(kind, body);
                }
                Step::Surplus(kind) => {
                    body.text(CHAIN_TABLE, table);
                    body.text(CHAIN_NAME, kind.name());
                }
                Step::Emptied(chain) => {
                    body.text(RULE_TABLE, table);
                    body.text(RULE_CHAIN, chain.name());
                }
                Step::Rule { chain, rule, .. } => {
                    body.text(RULE_TABLE, table);
                    body.text(RULE_CHAIN, chain.name());
                    body.nest(RULE_EXPRESSIONS, |list| {
                        for expression in rule::compile(rule).unwrap_or_default() {
                            list.nest(LIST_ELEMENT, |element| expression.encode(element));
                        }
                    });
                    body.bytes(RULE_USERDATA, &comment(COMMENT));
                }
            }
        });
        self.steps.push(step);
    }

    /// Sends it and waits for the outcome: nothing, or the first step that was refused and why.
    fn commit(self, socket: &mut Socket) -> Result<Option<(Step<'a>, Refusal)>> {
        let refused = self.batch.commit(socket, &Step::Whole.doing(self.table))?;
        Ok(refused.and_then(|(at, refusal)| Some((*self.steps.get(at)?, refusal))))
    }
}

impl Step<'_> {
    fn doing(self, table: &str) -> String {
        match self {
            Step::Whole | Step::Table => format!("writing the nftables table inet {table}"),
            Step::Removal => format!("removing the nftables table inet {table}"),
            Step::Chain(kind) => format!("making the chain {} in the nftables table inet {table}", kind.name()),
            Step::Emptied(kind) => format!("emptying the chain {} in the nftables table inet {table}", kind.name()),
            Step::Surplus(kind) => format!("removing the chain {} from the nftables table inet {table}", kind.name()),
            Step::Rule { chain, number, rule } => {
                let chain = chain.name();
                format!("making rule {number} (`{rule}`) of the chain {chain} in the nftables table inet {table}")
            }
        }
    }

    fn error(self, table: &str, refusal: Refusal) -> Error {
        let doing = self.doing(table);
        match self.lacking(&refusal) {
            Some(feature) => Error::Unsupported { doing, feature, refusal },
            None => Error::Refused { doing, refusal },
        }
    }

    /// What the kernel lacks if it gives this answer here.
    fn lacking(self, refusal: &Refusal) -> Option<&'static str> {
        let (missing, unsupported) = (refusal.errno == libc::ENOENT, refusal.is_unsupported());
        match self {
            Step::Whole if unsupported => Some(NO_NFTABLES),
            Step::Table if unsupported || refusal.errno == libc::EAFNOSUPPORT => {
                Some("nftables family inet (CONFIG_NF_TABLES_INET)")
            }
            // The table was made by the same transaction: it is the chain's type that is not found.
            Step::Chain(_) if unsupported || missing => {
                Some("nftables chains of the types filter and nat (CONFIG_NFT_NAT, module nft_chain_nat)")
            }
            // nft_masq_init refuses flags that it does not know.
            Step::Rule { rule, .. } if is_random(rule.verdict) && refusal.errno == libc::EINVAL => Some(FULLY_RANDOM),
            // Table and chain were made by the same transaction: it is an expression that is not found.
            Step::Rule { .. } if unsupported || missing => Some(
                "nftables expression that the rule needs (CONFIG_NFT_MASQ, CONFIG_NFT_NAT, CONFIG_NFT_FIB_INET, \
                 CONFIG_NFT_CT; modules nft_masq, nft_nat, nft_fib_inet, nft_ct)",
            ),
            _ => None,
        }
    }
}

fn is_random(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::MasqueradeFullyRandom | Verdict::SourceNatFullyRandom(_))
}

/// What an old kernel lacks that refuses [`Verdict::MasqueradeFullyRandom`]: the `feature` of its
/// [`Error::Unsupported`].
pub const FULLY_RANDOM: &str = "fully random masquerade (Linux 3.14): run with --ip-masq-fully-random-disable";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn what_the_kernel_lacks_is_told_from_which_step_it_refuses_and_how() {
        let rule = |verdict| Rule { matches: Vec::new(), verdict };
        let (random, plain) = (rule(Verdict::MasqueradeFullyRandom), rule(Verdict::Masquerade));
        let of = |rule| Step::Rule { chain: ChainKind::Postrouting, number: 1, rule };
        let table: [(Step<'_>, i32, &str); 9] = [
            (Step::Whole, libc::EOPNOTSUPP, "this kernel has no nftables (CONFIG_NF_TABLES, module nf_tables)"),
            (Step::Whole, libc::EPERM, "CAP_NET_ADMIN"),
            (Step::Table, libc::EOPNOTSUPP, "this kernel has no nftables family inet"),
            (Step::Table, libc::EAFNOSUPPORT, "this kernel has no nftables family inet"),
            (Step::Chain(ChainKind::Postrouting), libc::ENOENT, "this kernel has no nftables chains of the types"),
            (Step::Chain(ChainKind::Postrouting), libc::EEXIST, "File exists"),
            (of(&random), libc::EINVAL, "this kernel has no fully random masquerade"),
            (of(&plain), libc::EINVAL, "Invalid argument"),
            (of(&plain), libc::ENOENT, "this kernel has no nftables expression that the rule needs"),
        ];
        for (step, errno, sentence) in table {
            let error = step.error("towpath", Refusal { errno, words: None });
            assert!(error.to_string().contains(sentence), "{error}");
            assert_eq!(error.errno(), errno);
        }
        let error = of(&random).error("towpath", Refusal { errno: libc::EINVAL, words: None });
        assert!(matches!(error, Error::Unsupported { feature: FULLY_RANDOM, .. }));
    }
}
