//! [`Chains`]: another program's table, as far as we read it: which rules have no condition, where they lead, and what becomes
//! of a packet that none of the others takes ([`Chains::fate`]). Nothing is written here.

use std::net::IpAddr;

use ipnet::IpNet;

use super::expression::Expression;
use super::observation::text_of;
use super::uapi::{
    ACCEPT, CMP_DATA, CMP_OP, DATA_VALUE, DATA_VERDICT, DROP, EQUAL, EXPRESSION_DATA, EXPRESSION_NAME, GOTO,
    IMMEDIATE_DATA, JUMP, RETURN, RULE_HANDLE, VERDICT_CHAIN, VERDICT_CODE,
};
use super::{Kind, LIST_ELEMENT, RULE_CHAIN, RULE_EXPRESSIONS, RULE_TABLE, RULE_USERDATA};
use crate::error::{Error, Result};
use crate::netlink::{Attribute, Attributes, Request, Socket};

/// `NFTA_TARGET_NAME`, `NFTA_MATCH_NAME`; `NFTA_MATCH_INFO`
const EXTENSION_NAME: u16 = 1;
const EXTENSION_INFO: u16 = 3;
/// `NFT_JUMP_STACK_SIZE`: the kernel lets no table lead deeper.
const DEEPEST: usize = 16;

const DOING: &str = "looking for firewalls that drop what is forwarded";

/// A table of another program.
pub(super) struct Chains<'a> {
    pub(super) socket: &'a mut Socket,
    /// `NFPROTO_…`
    pub(super) family: u8,
    pub(super) table: &'a str,
}

/// What becomes of a packet that no rule with a condition takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// This rule, counted from nothing, lets it fall, or leads to one that does.
    Falls(usize),
    /// A rule accepts it.
    Passes,
    /// It reaches the chain's end.
    Reaches,
}

/// A rule, as far as it tells whether it lets packets through.
#[derive(Default)]
pub(super) struct Rule {
    pub(super) handle: u64,
    pub(super) comment: String,
    /// What is compared with, for equality.
    values: Vec<Vec<u8>>,
    /// No condition at all.
    pub(super) is_bare: bool,
    pub(super) drops: bool,
    code: Option<i32>,
    pub(super) leads_to: Option<String>,
    /// Its parts but for counters, if we know all of them.
    pub(super) expressions: Option<Vec<Expression>>,
}

impl Chains<'_> {
    /// A chain's rules in order; none when it went while we looked.
    pub(super) fn rules(&mut self, name: &str) -> Result<Vec<Rule>> {
        let request = Request { kind: Kind::GetRule.number(), flags: 0, doing: DOING };
        let answers = match self.socket.dump(&request, |body| {
            body.fixed(&[self.family, 0, 0, 0]);
            body.text(RULE_TABLE, self.table);
            body.text(RULE_CHAIN, name);
        }) {
            Err(Error::Refused { refusal, .. }) if refusal.errno == libc::ENOENT => return Ok(Vec::new()),
            answers => answers?,
        };
        let rules = answers.map(|message| message.attributes(4)).filter(|rule| {
            // Kernels before 4.x list all chains, whatever is asked for.
            let text = |kind| rule.get(kind).and_then(|name| name.text());
            text(RULE_CHAIN) == Some(name) && text(RULE_TABLE) == Some(self.table)
        });
        Ok(rules.map(Rule::read).collect())
    }

    /// What becomes of a packet that none of these rules with a condition takes.
    pub(super) fn fate(&mut self, rules: &[Rule]) -> Result<Fate> {
        self.fate_below(rules, DEEPEST)
    }

    fn fate_below(&mut self, rules: &[Rule], deepest: usize) -> Result<Fate> {
        for (at, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.is_bare) {
            if rule.drops {
                return Ok(Fate::Falls(at));
            }
            match (rule.code, &rule.leads_to) {
                (Some(ACCEPT), _) => return Ok(Fate::Passes),
                (Some(RETURN), _) => return Ok(Fate::Reaches),
                (Some(code), Some(next)) if deepest > 0 => {
                    let next = self.rules(next)?;
                    match self.fate_below(&next, deepest - 1)? {
                        Fate::Falls(_) => return Ok(Fate::Falls(at)),
                        Fate::Passes => return Ok(Fate::Passes),
                        // Nothing comes back from there (nft(8), `goto`).
                        Fate::Reaches if code == GOTO => return Ok(Fate::Reaches),
                        Fate::Reaches => {}
                    }
                }
                _ => {}
            }
        }
        Ok(Fate::Reaches)
    }
}

impl Rule {
    fn read(rule: Attributes<'_>) -> Rule {
        let comment = rule.get(RULE_USERDATA).map_or_else(String::new, |data| text_of(data.bytes));
        let handle = rule.get(RULE_HANDLE).and_then(|handle| handle.be64()).unwrap_or_default();
        let mut read = Rule { handle, comment, is_bare: true, expressions: Some(Vec::new()), ..Rule::default() };
        let list = rule.get(RULE_EXPRESSIONS).map(|list| list.nested()).unwrap_or_default();
        for element in list.filter(|element| element.kind == LIST_ELEMENT).map(|element| element.nested()) {
            read.take(element);
        }
        read
    }

    fn take(&mut self, element: Attributes<'_>) {
        let name = element.get(EXPRESSION_NAME);
        let data = element.get(EXPRESSION_DATA).map(|data| data.nested()).unwrap_or_default();
        let extension = || data.get(EXTENSION_NAME).and_then(|name| Attribute::text(&name).map(str::to_owned));
        match name.as_ref().and_then(|name| name.text()).unwrap_or_default() {
            "counter" => return,
            "log" | "notrack" => {}
            "reject" => self.drops = true,
            "immediate" => self.verdict(data),
            // An iptables target that nft has no word for.
            "target" => self.drops = extension().as_deref() == Some("REJECT"),
            // iptables' own way to write one (`struct xt_comment_info`); ours is in the userdata.
            "match" if extension().as_deref() == Some("comment") => {
                let text = data.get(EXTENSION_INFO).map(|info| info.bytes).unwrap_or_default();
                let text = text.split(|octet| *octet == 0).next().unwrap_or_default();
                self.comment = String::from_utf8_lossy(text).into_owned();
                return;
            }
            "cmp" => {
                self.is_bare = false;
                let equal = data.get(CMP_OP).and_then(|operator| operator.be32()) == Some(EQUAL);
                let value = data.get(CMP_DATA).and_then(|data| data.nested().get(DATA_VALUE));
                self.values.extend(value.filter(|_| equal).map(|value| value.bytes.to_vec()));
            }
            _ => self.is_bare = false,
        }
        match (Expression::decode(element), &mut self.expressions) {
            (Some(expression), Some(all)) => all.push(expression),
            (_, expressions) => *expressions = None,
        }
    }

    fn verdict(&mut self, data: Attributes<'_>) {
        let Some(verdict) = data.get(IMMEDIATE_DATA).and_then(|data| data.nested().get(DATA_VERDICT)) else { return };
        self.code = verdict.nested().get(VERDICT_CODE).and_then(|code| code.be32()).map(u32::cast_signed);
        self.drops = self.code == Some(DROP);
        if self.code.is_some_and(|code| [JUMP, GOTO].contains(&code)) {
            self.leads_to = verdict.nested().get(VERDICT_CHAIN).and_then(|chain| chain.text()).map(str::to_owned);
        }
    }

    /// Whether it looks like one that somebody wrote to let these packets through.
    pub(super) fn lets(&self, network: &IpNet, names: &[&str]) -> bool {
        if self.drops {
            return false;
        }
        let address: Vec<u8> = match network.network() {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let short = usize::from(network.prefix_len()).div_ceil(8);
        // A prefix that ends with an octet is compared by the octets before it, any other under a mask.
        let names_network = |value: &Vec<u8>| *value == address || address.get(..short) == Some(value.as_slice());
        let names_link = |value: &Vec<u8>| {
            let text = value.split(|octet| *octet == 0).next().unwrap_or_default();
            names.iter().any(|name| name.as_bytes() == text)
        };
        (self.is_bare && self.code == Some(ACCEPT))
            || self.values.iter().any(|value| names_network(value) || names_link(value))
    }
}
