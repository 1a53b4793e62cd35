//! [`Launch`]: the components of a control plane with their flags, each as a program in the lab.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use ipam::{Family, Stack};
use ipnet::IpNet;

use crate::etcd::{Etcd, EtcdOptions};
use crate::kubernetes::authority::{Authority, Request, Validity};
use crate::kubernetes::identity::{Identity, Proof, kubeconfig};
use crate::kubernetes::{ControlPlaneOptions, EtcdVersion, Kubectl, Programs};
use crate::prerequisites::{Tool, require};
use crate::process::Process;
use crate::station::Station;

const PORT: u16 = 6443;
/// Two busy cores: on idle ones it takes three seconds.
const START_LIMIT: Duration = Duration::from_secs(90);
/// For the certificates of clients.
const DAY: Validity = Validity::Days(1);

/// What the components are started from.
pub(super) struct Launch<'a> {
    pub station: &'a Station,
    pub programs: &'a Programs,
    pub authority: &'a Authority,
    pub options: &'a ControlPlaneOptions,
}

impl Launch<'_> {
    pub fn certify(&self, validity: Validity) -> Result<()> {
        let mut names = String::from("DNS:localhost,IP:127.0.0.1");
        for name in
            ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]
        {
            write!(names, ",DNS:{name}")?;
        }
        let services = self.options.services.values().filter_map(|net| net.hosts().find(|host| *host != net.network()));
        for address in self.station.addresses()?.values().copied().chain(services) {
            write!(names, ",IP:{address}")?;
        }
        let request = Request { name: "apiserver", subject: "/CN=kube-apiserver", names: &[names], validity };
        self.authority.issue(&request)
    }

    pub fn kubeconfig(&self, identity: &Identity) -> Result<PathBuf> {
        let (name, subject) = (identity.file_stem(), identity.subject());
        let path = self.authority.file(&format!("{name}.kubeconfig"));
        let _turn = self.authority.lock();
        if path.exists() {
            return Ok(path);
        }
        self.authority.issue(&Request { name: &name, subject: &subject, names: &[], validity: DAY })?;
        let [certificate, key] = ["crt", "key"].map(|end| self.authority.file(&format!("{name}.{end}")));
        let proof = Proof::Certificate { certificate: &certificate, key: &key };
        std::fs::write(&path, kubeconfig(&self.url()?, &self.authority.file("ca.crt"), &proof))?;
        Ok(path)
    }

    pub fn etcd(&self) -> Result<Etcd> {
        let program = match self.options.etcd {
            EtcdVersion::Current => self.programs.path("etcd"),
            EtcdVersion::Debian => {
                require(Tool::Etcd)?;
                "etcd".into()
            }
        };
        Etcd::start(&program, vec![self.station.clone()], &EtcdOptions { flags: vec!["--unsafe-no-fsync".to_owned()] })
    }

    pub fn api_server(&self) -> Result<Process> {
        let mut command = self.programs.command("kube-apiserver");
        let file = |name: &str| self.authority.file(name).display().to_string();
        command.arg("--etcd-servers=http://127.0.0.1:2379").arg("--bind-address=::");
        command.arg(format!("--advertise-address={}", self.station.address(self.family())?));
        command.arg(format!("--secure-port={PORT}")).arg(format!("--service-cluster-ip-range={}", self.services()));
        command.arg(format!("--tls-cert-file={}", file("apiserver.crt")));
        command.arg(format!("--tls-private-key-file={}", file("apiserver.key")));
        command.arg(format!("--client-ca-file={}", file("ca.crt")));
        command.arg(format!("--service-account-signing-key-file={}", file("service-accounts.key")));
        command.arg(format!("--service-account-key-file={}", file("service-accounts.crt")));
        command.arg("--service-account-issuer=https://kubernetes.default.svc");
        command.arg("--authorization-mode=Node,RBAC").arg("--enable-admission-plugins=NodeRestriction");
        // A name of a node means nothing to the resolver here.
        command.arg("--kubelet-preferred-address-types=InternalIP").arg("--allow-privileged=true");
        self.station.start("kube-apiserver", self.with_home(command, &self.options.api_flags))
    }

    pub fn controllers(&self, pods: &Stack<IpNet>) -> Result<Process> {
        let mut command = self.programs.command("kube-controller-manager");
        let file = |name: &str| self.authority.file(name).display().to_string();
        command.arg(format!("--kubeconfig={}", self.component("kube-controller-manager")?.display()));
        command.args(["--leader-elect=false", "--secure-port=0", "--use-service-account-credentials=true"]);
        command.arg("--allocate-node-cidrs=true").arg(format!("--cluster-cidr={}", list(pods)));
        if let Stack::Dual { .. } = pods {
            command.args(["--node-cidr-mask-size-ipv4=24", "--node-cidr-mask-size-ipv6=64"]);
        }
        command.arg(format!("--service-cluster-ip-range={}", self.services()));
        command.arg(format!("--service-account-private-key-file={}", file("service-accounts.key")));
        command.arg(format!("--root-ca-file={}", file("ca.crt")));
        self.station.start("kube-controller-manager", self.with_home(command, &self.options.controller_flags))
    }

    pub fn scheduler(&self) -> Result<Process> {
        let mut command = self.programs.command("kube-scheduler");
        command.arg(format!("--kubeconfig={}", self.component("kube-scheduler")?.display()));
        command.args(["--leader-elect=false", "--secure-port=0"]);
        self.station.start("kube-scheduler", self.with_home(command, &[]))
    }

    pub fn url(&self) -> Result<String> {
        Ok(format!("https://{}", SocketAddr::new(self.station.address(self.family())?, PORT)))
    }

    /// The API server refuses to start when its own address is not in the first family of the services.
    fn family(&self) -> Family {
        self.options.services.families().next().unwrap_or(Family::V4)
    }

    pub fn wait_ready(&self, api_server: &Process, kubectl: &Kubectl) -> Result<()> {
        let address = SocketAddr::new(self.station.address(self.family())?, PORT);
        api_server.wait_ready(START_LIMIT, || {
            // Cheaper than a kubectl that meets nobody.
            drop(self.station.connect(address, Duration::from_secs(1))?);
            let said = kubectl.run("get --raw /readyz --request-timeout=5s")?;
            ensure!(said == "ok", "/readyz says {said}");
            Ok(())
        })
    }

    fn component(&self, name: &str) -> Result<PathBuf> {
        self.kubeconfig(&Identity::component(name))
    }

    fn services(&self) -> String {
        list(&self.options.services)
    }

    /// What a component leaves where it stands stays in the lab.
    fn with_home(&self, mut command: Command, flags: &[String]) -> Command {
        command.args(flags).env("HOME", self.station.directory()).current_dir(self.station.directory());
        command
    }
}

/// Networks as Kubernetes' flags take them.
pub(super) fn list(nets: &Stack<IpNet>) -> String {
    nets.values().map(IpNet::to_string).collect::<Vec<_>>().join(",")
}
