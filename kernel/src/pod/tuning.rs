//! Tuning one link in the pod: what it is like, and changing that. For the plugins `tuning` and `loopback`.

use backends::LinkName;

use super::exchange::Exchange;
use super::inside::Pod;
use crate::codec::{link, tuning};
use crate::error::Result;

pub use crate::codec::tuning::Tuning;

impl Pod {
    /// What a link is like, with its index; `None` when there is none of that name. `ip link show NAME`
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn tuned(&mut self, name: LinkName) -> Result<Option<(u32, Tuning)>> {
        let mut found = None;
        let mut exchange = Exchange::new(&mut self.socket);
        exchange.question(link::GET, |body| link::by_name(body, name));
        let refusals = exchange.finish(|message| found = found.or_else(|| tuning::read(message)))?;
        let refusals = refusals.tolerate(|_, errno| errno == libc::ENODEV);
        refusals.into_result(|_| format!("looking for the interface {name} in the pod"))?;
        Ok(found)
    }

    /// Changes a link. `ip link set dev NAME …`
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn tune(&mut self, index: u32, name: LinkName, wanted: &Tuning) -> Result<()> {
        let mut exchange = Exchange::new(&mut self.socket);
        exchange.order((link::NEW, 0), |body| tuning::set(body, index, wanted));
        exchange.finish(|_| {})?.into_result(|_| format!("tuning {name} in the pod"))
    }
}
