//! Reading our table back: one moment's table, chains and rules as a [`Ruleset`].

use backends::ruleset::{Chain, ChainKind, Rule, Ruleset, Verdict};

use super::chain::{self, CHAIN_NAME, CHAIN_TABLE, CHAIN_USE};
use super::expression::Expression;
use super::{
    GENERIC, INET, Kind, LIST_ELEMENT, NO_NFTABLES, RULE_CHAIN, RULE_EXPRESSIONS, RULE_TABLE, TABLE_FLAGS, TABLE_NAME,
    TABLE_USE, TABLE_USERDATA, rule,
};
use crate::error::{Error, Result};
use crate::netlink::{Attributes, Message, Request, Socket};

/// Octets of `struct nfgenmsg`.
const GENERIC_LEN: usize = GENERIC.len();
/// `NFTA_GEN_ID`
const GENERATION_ID: u16 = 1;
/// How often to look again when somebody's transactions come between our questions.
const ATTEMPTS: u32 = 100;

/// See [`super::Table::observe`].
pub(super) fn observe(socket: &mut Socket, table: &str) -> Result<Option<Ruleset>> {
    let doing = format!("reading the nftables table inet {table}");
    let mut reader = Reader { socket, table, doing: &doing };
    for _ in 0..ATTEMPTS {
        // Three questions are not one moment: the kernel's generation number tells whether they were.
        let generation = reader.generation()?;
        match reader.look()? {
            Look::Whole(ruleset) if reader.generation()? == generation => return Ok(ruleset),
            _ => std::thread::yield_now(),
        }
    }
    Err(Error::Unsettled { doing, attempts: ATTEMPTS })
}

/// What a transaction can build on.
pub(super) struct Footing {
    /// The generation that was looked at.
    pub(super) generation: Option<u32>,
    /// The chains, when nothing but rules can be wrong in the table.
    pub(super) chains: Option<Vec<ChainKind>>,
}

/// Looks at the table as [`super::Table::replace`] needs it.
pub(super) fn footing(socket: &mut Socket, (table, owner): (&str, &str)) -> Result<Footing> {
    let doing = format!("writing the nftables table inet {table}");
    let mut reader = Reader { socket, table, doing: &doing };
    let generation = reader.generation()?;
    let head = reader.about_table(|attributes| (flags_and_members(attributes), comment_of(attributes)))?;
    let Some(((0, members), _)) = head.filter(|(_, comment)| comment == owner) else {
        return Ok(Footing { generation, chains: None });
    };
    let chains: Vec<ChainKind> = reader.chains()?.into_iter().map(|listed| listed.chain.kind).collect();
    let sound = chains.len() == members && !chains.contains(&ChainKind::Foreign);
    Ok(Footing { generation, chains: sound.then_some(chains) })
}

/// See [`super::Table::owner`].
pub(super) fn comment(socket: &mut Socket, table: &str) -> Result<Option<String>> {
    let doing = format!("reading the nftables table inet {table}");
    let mut reader = Reader { socket, table, doing: &doing };
    reader.about_table(comment_of)
}

fn comment_of(table: Attributes<'_>) -> String {
    table.get(TABLE_USERDATA).map_or_else(String::new, |data| text_of(data.bytes))
}

/// The table's flags, and how many chains (and sets, and objects) it has.
fn flags_and_members(table: Attributes<'_>) -> (usize, usize) {
    (number(table, TABLE_FLAGS), number(table, TABLE_USE))
}

/// The text of a comment in userdata: type 0, length, text, NUL (see `transaction::comment`).
pub(super) fn text_of(userdata: &[u8]) -> String {
    let text = match userdata {
        [0, length, text @ ..] => text.get(..usize::from(*length)).unwrap_or_default(),
        _ => &[],
    };
    String::from_utf8_lossy(text.strip_suffix(&[0]).unwrap_or(text)).into_owned()
}

/// Whether a notice of the nftables group is about this table of ours.
pub(crate) fn touches(message: &Message<'_>, table: &str) -> bool {
    // Attribute 1 is the table's name in every announcement but that of a generation, which has no family.
    message.body.first() == Some(&INET) && is(message.attributes(GENERIC_LEN), TABLE_NAME, table)
}

/// Whether a notice of the nftables group is about a chain or a rule, in a table that sees what is routed.
pub(crate) fn may_drop(message: &Message<'_>) -> bool {
    let families = [libc::NFPROTO_INET, libc::NFPROTO_IPV4, libc::NFPROTO_IPV6];
    let kinds = [Kind::DeleteTable, Kind::NewChain, Kind::DeleteChain, Kind::NewRule, Kind::DeleteRule];
    message.body.first().is_some_and(|family| families.contains(&i32::from(*family)))
        && kinds.iter().any(|kind| kind.number() == message.header.kind)
}

/// What a look found.
enum Look {
    Whole(Option<Ruleset>),
    /// More chains than the table has, or more rules than a chain has: in the middle of a commit, with the new
    /// generation's number out already, the kernel still lists what is going.
    Torn,
}

/// A chain.
struct Listed {
    name: String,
    /// How many rules it has; jumps to it count as well.
    members: usize,
    chain: Chain,
}

struct Reader<'a> {
    socket: &'a mut Socket,
    table: &'a str,
    doing: &'a str,
}

impl<'a> Reader<'a> {
    fn request(&self, kind: Kind) -> Request<'a> {
        Request { kind: kind.number(), flags: 0, doing: self.doing }
    }

    fn generation(&mut self) -> Result<Option<u32>> {
        let request = self.request(Kind::GetGeneration);
        let answers = self.socket.query(&request, |body| body.fixed(&GENERIC)).map_err(|error| match error {
            // What nfnetlink_rcv_msg says when nobody registered for the subsystem.
            Error::Refused { doing, refusal } if refusal.errno == libc::EINVAL || refusal.is_unsupported() => {
                Error::Unsupported { doing, feature: NO_NFTABLES, refusal }
            }
            other => other,
        });
        Ok(answers?.find_map(|message| message.attributes(GENERIC_LEN).get(GENERATION_ID)?.be32()))
    }

    fn look(&mut self) -> Result<Look> {
        let Some((flags, members)) = self.about_table(flags_and_members)? else { return Ok(Look::Whole(None)) };
        let mut listed = self.chains()?;
        self.rules(&mut listed)?;
        if listed.len() > members || listed.iter().any(|listed| listed.chain.rules.len() > listed.members) {
            return Ok(Look::Torn);
        }
        let mut chains: Vec<Chain> = listed.into_iter().map(|listed| listed.chain).collect();
        if flags != 0 {
            chains.push(Chain { kind: ChainKind::Foreign, rules: Vec::new() });
        }
        chains.sort_by_key(|chain| chain.kind);
        Ok(Look::Whole(Some(Ruleset { chains })))
    }

    /// Something that the kernel says of the table itself, `None` when there is no table.
    fn about_table<T: Default>(&mut self, tell: impl Fn(Attributes<'_>) -> T) -> Result<Option<T>> {
        let (request, table) = (self.request(Kind::GetTable), self.table);
        let answers = self.socket.query(&request, |body| {
            body.fixed(&GENERIC);
            body.text(TABLE_NAME, table);
        });
        match answers {
            Ok(mut answers) => {
                let told = answers.next().map(|message| tell(message.attributes(GENERIC_LEN)));
                Ok(Some(told.unwrap_or_default()))
            }
            // No such table, or not even such a family.
            Err(Error::Refused { refusal, .. }) if refusal.errno == libc::ENOENT => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Our table's chains, without their rules.
    fn chains(&mut self) -> Result<Vec<Listed>> {
        let request = self.request(Kind::GetChain);
        let answers = self.socket.dump(&request, |body| body.fixed(&GENERIC))?;
        // The kernel lists the chains of all tables of the family.
        let ours =
            answers.map(|message| message.attributes(GENERIC_LEN)).filter(|chain| is(*chain, CHAIN_TABLE, self.table));
        let listed = |attributes: Attributes<'_>| {
            let name = attributes.get(CHAIN_NAME)?.text()?.to_owned();
            let chain = Chain { kind: chain::decode(attributes), rules: Vec::new() };
            Some(Listed { name, members: number(attributes, CHAIN_USE), chain })
        };
        Ok(ours.filter_map(listed).collect())
    }

    /// Puts our table's rules into its chains, in order.
    fn rules(&mut self, chains: &mut [Listed]) -> Result<()> {
        let (request, table) = (self.request(Kind::GetRule), self.table);
        let answers = self.socket.dump(&request, |body| {
            body.fixed(&GENERIC);
            body.text(RULE_TABLE, table);
        })?;
        // Kernels before 4.7 list the rules of all tables of the family.
        let ours = answers.map(|message| message.attributes(GENERIC_LEN)).filter(|rule| is(*rule, RULE_TABLE, table));
        for attributes in ours {
            let name = attributes.get(RULE_CHAIN).and_then(|name| name.text());
            if let Some(listed) = chains.iter_mut().find(|listed| Some(listed.name.as_str()) == name) {
                listed.chain.rules.push(decode_rule(attributes));
            }
        }
        Ok(())
    }
}

fn number(attributes: Attributes<'_>, kind: u16) -> usize {
    let number = attributes.get(kind).and_then(|attribute| attribute.be32()).unwrap_or(0);
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn is(attributes: Attributes<'_>, kind: u16, text: &str) -> bool {
    attributes.get(kind).and_then(|attribute| attribute.text()) == Some(text)
}

fn decode_rule(attributes: Attributes<'_>) -> Rule {
    let list = attributes.get(RULE_EXPRESSIONS).map(|list| list.nested()).unwrap_or_default();
    let elements = list.filter(|element| element.kind == LIST_ELEMENT);
    let expressions: Option<Vec<Expression>> = elements.map(|element| Expression::decode(element.nested())).collect();
    match expressions {
        Some(expressions) => rule::recognise(&expressions),
        None => Rule { matches: Vec::new(), verdict: Verdict::Foreign },
    }
}
