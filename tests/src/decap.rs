//! The program of the brokers' hosts in the kernel, fed by `BPF_PROG_TEST_RUN`.

use std::{
    env,
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf,
    maps::{HashMap, LpmTrie, PerCpuArray, lpm_trie::Key},
    programs::{TestRun as _, TestRunOptions, Xdp},
};
use lb_common::{
    addr::Addr,
    decap::{DecapVerdict, Prefix, maps},
    verdict::Action,
};
use lb_ebpf::host::{
    Bytes,
    golden::{BrokerHost, decap::DecapCase},
};

/// The object that is checked in beside its sources, or the one that `MQLB_DECAP_OBJECT` names.
#[must_use]
pub fn object() -> PathBuf {
    let checked_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lb-ebpf/object/mqlb-decap.o");
    env::var_os("MQLB_DECAP_OBJECT").map_or(checked_in, PathBuf::from)
}

/// The program and its lists.
#[expect(missing_debug_implementations, reason = "aya's maps have none")]
pub struct Decap(Ebpf);

impl Decap {
    /// Loads the program and writes its lists.
    pub fn load(host: &BrokerHost) -> Result<Self> {
        let mut ebpf = Ebpf::load_file(object()).context("load the object")?;
        program(&mut ebpf)?.load().context("load the XDP program")?;
        let map = ebpf.map_mut(maps::FROM).context("the program has a list of sources")?;
        let mut from: LpmTrie<_, [u32; 4], u32> = map.try_into()?;
        for (address, bits) in &host.from {
            let Prefix { bits, address } = Prefix::new(*address, *bits);
            from.insert(&Key::new(bits, address), 1, 0)?;
        }
        for (name, addresses) in [(maps::TO, &host.to), (maps::VIPS, &host.vips)] {
            let map = ebpf.map_mut(name).with_context(|| format!("the program has {name}"))?;
            let mut list: HashMap<_, Addr, u32> = map.try_into()?;
            for address in addresses {
                list.insert(Addr::from(*address as IpAddr), 1, 0)?;
            }
        }
        Ok(Self(ebpf))
    }

    /// Sends one frame through the program: its action, and the frame afterwards.
    pub fn run(&mut self, input: &Bytes) -> Result<(u32, Bytes)> {
        let mut output = vec![0; input.0.len()];
        let result = program(&mut self.0)?.test_run(TestRunOptions {
            data_in: Some(&input.0),
            data_out: Some(&mut output),
            ..TestRunOptions::default()
        })?;
        output.truncate(result.data_size_out as usize);
        Ok((result.return_value, Bytes(output)))
    }

    /// Plays golden packets: actions, bytes, and at the end the counters.
    pub fn play(&mut self, cases: &[DecapCase]) -> Result<()> {
        for case in cases {
            let (action, output) = self.run(&case.input)?;
            // XDP_DROP and XDP_PASS.
            let expected = if case.verdict.action() == Action::Drop { 1 } else { 2 };
            ensure!(action == expected, "{}: action {action}", case.name);
            ensure!(output == case.output, "{}: {output:?}\nnot {:?}", case.name, case.output);
        }
        for verdict in DecapVerdict::ALL {
            let expected = cases.iter().filter(|case| case.verdict == *verdict).count() as u64;
            let count = self.count_of(*verdict)?;
            ensure!(count == expected, "{} is {count}, not {expected}", verdict.name());
        }
        Ok(())
    }

    /// How many packets had this verdict.
    pub fn count_of(&self, verdict: DecapVerdict) -> Result<u64> {
        let map = self.0.map(maps::VERDICTS).context("the program counts verdicts")?;
        let counters: PerCpuArray<_, u64> = map.try_into()?;
        Ok(counters.get(&(verdict as u32), 0)?.iter().sum())
    }
}

fn program(ebpf: &mut Ebpf) -> Result<&mut Xdp> {
    let program = ebpf.program_mut("mqlb_decap").context("the object has the program")?;
    Ok(program.try_into()?)
}
