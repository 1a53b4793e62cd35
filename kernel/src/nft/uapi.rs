//! Numbers of linux/netfilter.h and linux/netfilter/nf_tables.h that several files here need. What only one needs stands there.

/// What becomes of a packet: `NF_DROP`, `NF_ACCEPT`; `NFT_JUMP`, `NFT_GOTO`, `NFT_RETURN`.
pub(in crate::nft) const DROP: i32 = 0;
pub(in crate::nft) const ACCEPT: i32 = 1;
pub(in crate::nft) const JUMP: i32 = -3;
pub(in crate::nft) const GOTO: i32 = -4;
pub(in crate::nft) const RETURN: i32 = -5;
/// The first two as the policy of a base chain (`NFTA_CHAIN_POLICY`).
pub(in crate::nft) const POLICY_DROP: u32 = 0;
pub(in crate::nft) const POLICY_ACCEPT: u32 = 1;
/// `NFTA_RULE_HANDLE`
pub(in crate::nft) const RULE_HANDLE: u16 = 3;
/// `NFTA_EXPR_…`
pub(in crate::nft) const EXPRESSION_NAME: u16 = 1;
pub(in crate::nft) const EXPRESSION_DATA: u16 = 2;
/// `NFTA_DATA_…`, `NFTA_VERDICT_…`
pub(in crate::nft) const DATA_VALUE: u16 = 1;
pub(in crate::nft) const DATA_VERDICT: u16 = 2;
pub(in crate::nft) const VERDICT_CODE: u16 = 1;
pub(in crate::nft) const VERDICT_CHAIN: u16 = 2;
/// `NFT_REG_VERDICT`, `NFT_REG_1`
pub(in crate::nft) const VERDICT_REGISTER: u32 = 0;
pub(in crate::nft) const REGISTER: u32 = 1;
/// `NFTA_IMMEDIATE_…`
pub(in crate::nft) const IMMEDIATE_DREG: u16 = 1;
pub(in crate::nft) const IMMEDIATE_DATA: u16 = 2;
/// `NFTA_META_…`
pub(in crate::nft) const META_DREG: u16 = 1;
pub(in crate::nft) const META_KEY: u16 = 2;
/// `NFTA_PAYLOAD_…`
pub(in crate::nft) const PAYLOAD_DREG: u16 = 1;
pub(in crate::nft) const PAYLOAD_BASE: u16 = 2;
pub(in crate::nft) const PAYLOAD_OFFSET: u16 = 3;
pub(in crate::nft) const PAYLOAD_LEN: u16 = 4;
/// `NFTA_CMP_…`; `NFT_CMP_EQ`
pub(in crate::nft) const CMP_OP: u16 = 2;
pub(in crate::nft) const CMP_DATA: u16 = 3;
pub(in crate::nft) const EQUAL: u32 = 0;
/// `NFTA_LOOKUP_…`
pub(in crate::nft) const LOOKUP_SET: u16 = 1;
pub(in crate::nft) const LOOKUP_SREG: u16 = 2;
pub(in crate::nft) const LOOKUP_DREG: u16 = 3;
/// `NFTA_NAT_…`
pub(in crate::nft) const NAT_TYPE: u16 = 1;
pub(in crate::nft) const NAT_FAMILY: u16 = 2;
pub(in crate::nft) const NAT_ADDRESS: u16 = 3;
