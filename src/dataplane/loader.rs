//! Loads the program, makes or adopts its maps, attaches it to the ports.
//!
//! Everything is pinned below one folder of a bpffs, so that the data plane
//! outlives the daemon; the next daemon finds maps, program and links there and
//! goes on with them. Only the program is replaced, at once, by its own version.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use libbpf_rs::skel::{OpenSkel, Skel, SkelBuilder};
use libbpf_rs::{MapCore, MapHandle, OpenMapMut};
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::DataPlaneError;
use super::kernel::{self, SharedArray, Table};
use super::layout::*;
use super::variant::{self, OF_VARIANTS, SharedMaps};
use crate::config::{Limits, XdpMode};
use crate::core::network::IfIndex;

/// The maps of `bpf/maps.h` that the daemon uses.
pub struct Maps {
    pub control: Arc<SharedArray<control>>,
    pub ownership: Arc<SharedArray<ownership>>,
    /// For mappings of others' own.
    pub control_map: MapHandle,
    pub dests_map: MapHandle,
    pub sync_events: MapHandle,
    pub sync_lost: MapHandle,
    pub restore_entries: Table<u32, sync_entry>,
    pub client_places: Table<u64, client_place>,
    pub ports: Table<u32, port>,
    pub tx_ports: Table<u32, u32>,
    pub addrs: Table<addr, addr_info>,
    pub vips: Table<u32, addr>,
    pub services: Table<service_key, u32>,
    pub service_settings: Table<u32, service>,
    pub dests: SharedArray<dest>,
    pub members: Table<member_key, u32>,
    pub snats: Table<u32, snat>,
    pub inside: Table<prefix_key, u32>,
    pub migrants: Table<migrant_key, u32>,
    pub actives: Table<active_key, u32>,
    pub names: Table<name_key, NameText>,
    pub tables: MapHandle,
    pub conns: SharedArray<conns>,
    pub server_conns: SharedArray<conns>,
    pub traffic: Table<u32, traffic>,
    pub reasons: Table<u32, u64>,
    pub seen_macs: Table<u32, seen_mac>,
    pub reap_keys: Table<u32, flow_key>,
    pub flows: Table<flow_key, flow>,
    pub rflows: Table<flow_key, rflow>,
    pub persist: Table<persist_key, persist>,
    pub probe_places: Table<u32, probe_place>,
    /// Number of sets of the embryonic table, a power of two.
    pub embryo_sets: u32,
}

/// A data plane of another layout, as far as our version knows it: its lease, and since layout 3 the sign of life
/// and the token beside it.
pub struct Earlier {
    pub control: SharedArray<control>,
    pub ownership: Option<SharedArray<ownership>>,
    /// Its program is still on the ports.
    pub serves: AtomicBool,
}

/// A loaded data plane.
pub struct Loaded {
    pub maps: Maps,
    pub xdp: OwnedFd,
    pub reap: OwnedFd,
    pub sweep_embryos: OwnedFd,
    pub restore: OwnedFd,
    pub probe: OwnedFd,
    pub endless: OwnedFd,
    /// For variants of the program.
    pub shared: SharedMaps,
    /// The data plane with another layout that serves until our tables are filled.
    pub earlier: Option<Arc<Earlier>>,
    /// The state of an earlier daemon was taken over.
    pub adopted: bool,
    /// What the operator should know of the start.
    pub notes: Vec<String>,
}

/// Makes sure that `dir` is a bpffs which outlives this process, mounting one if need be.
///
/// A mount in a private mount namespace (under `ip netns exec`, or a systemd unit with private mounts) dies
/// with it and takes the running data plane along: refused.
pub fn prepare_pin_dir(dir: &Path) -> Result<(), DataPlaneError> {
    let failed = |source: io::Error| DataPlaneError::PinDir { path: dir.to_owned(), source };
    fs::create_dir_all(dir).map_err(failed)?;
    if statfs(dir).map_err(|e| failed(e.into()))?.filesystem_type() == BPF_FS_MAGIC {
        return Ok(());
    }
    if in_private_mounts().map_err(failed)? {
        return Err(DataPlaneError::PrivateMounts { path: dir.to_owned() });
    }
    mount(Some("bpf"), dir, Some("bpf"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC, Some("mode=0700"))
        .map_err(|e| failed(e.into()))
}

/// Whether this process has a mount namespace of its own: another than init's, or, where a sandbox hides
/// init from us, another than its parent's.
fn in_private_mounts() -> io::Result<bool> {
    let mount_namespace = |who: &str| fs::metadata(format!("/proc/{who}/ns/mnt")).map(|m| m.ino());
    let own = mount_namespace("self")?;
    let parent = std::os::unix::process::parent_id().to_string();
    for other in ["1", &parent] {
        match mount_namespace(other) {
            Ok(theirs) => return Ok(theirs != own),
            Err(e) if matches!(e.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(false)
}

/// Embryonic slots come in sets; NAT uses two slots a connection.
fn embryo_sets(limits: &Limits) -> u32 {
    (limits.embryonic / EMBRYO_WAYS * 2).next_power_of_two().max(1)
}

/// A map pinned in `dir`, `None` if there is none. Any other failure to open it is an error: a data plane that runs
/// must not be taken for none.
fn pinned_words<V: Raw>(dir: &Path, name: &str) -> Result<Option<SharedArray<V>>, DataPlaneError> {
    let path = dir.join(name);
    if !path.exists() {
        return Ok(None);
    }
    let map = MapHandle::from_pinned_path(&path).map_err(|source| DataPlaneError::Adopt { path, source })?;
    SharedArray::map(&map).map(Some)
}

/// Loads the program; adopts the maps pinned in `dir` when their layout is ours, else makes new ones.
/// `dir` `None`: nothing is pinned (tests, `explain`).
pub fn load(limits: &Limits, dir: Option<&Path>) -> Result<Loaded, DataPlaneError> {
    let mut notes = Vec::new();
    let mut adopted = false;
    // By it the hashes of connections without an entry stay what they were.
    let mut seed = None;
    let mut earlier = None;
    // Lease, layout and seed are where they are in every layout.
    if let Some(dir) = dir
        && let Some(map) = pinned_words::<control>(dir, "control")?
        && let Some(held) = map.read(0)
    {
        adopted = held.layout == LAYOUT;
        seed = Some(held.seed);
        if !adopted {
            notes.push(format!(
                "the running data plane has map layout {}, this version {LAYOUT}: its tables cannot be read, and it \
                 goes on with them until new ones are filled. Then established connections go on where the scheduler \
                 is consistent (maglev, source-hash) and in DSR mode, the others are reset at their next packet",
                held.layout
            ));
            let ownership = pinned_words(dir, "ownership")?;
            earlier = Some(Arc::new(Earlier { control: map, ownership, serves: AtomicBool::new(true) }));
        }
    }
    let load_error = |source: libbpf_rs::Error| DataPlaneError::load(source);
    let mut object = MaybeUninit::uninit();
    let mut open = LbdSkelBuilder::default().open(&mut object).map_err(load_error)?;
    let sets = embryo_sets(limits);
    for (map, entries) in [
        (&mut open.maps.flows, limits.connections),
        (&mut open.maps.rflows, limits.connections),
        (&mut open.maps.embryos, sets),
        (&mut open.maps.persist, limits.persistence),
        (&mut open.maps.persist_new, (limits.persistence / 4).max(1024)),
        (&mut open.maps.frags, limits.fragments),
    ] {
        map.set_max_entries(entries).map_err(load_error)?;
    }
    for mut map in open.open_object_mut().maps_mut() {
        if OF_VARIANTS.contains(&&*map.name().to_string_lossy()) {
            map.set_autocreate(false).map_err(load_error)?;
        }
    }
    if let (true, Some(dir)) = (adopted, dir) {
        for map in pinned_maps(&mut open.maps) {
            let path = dir.join(map.name());
            map.reuse_pinned_map(&path).map_err(|source| DataPlaneError::Adopt { path, source })?;
        }
    }
    let mut skel = open.load().map_err(load_error)?;

    if let (false, Some(dir)) = (adopted, dir) {
        // Only now, when the new program has been loaded, is what was there given up. `control` comes last: as
        // long as it is missing, the next start begins anew.
        unpin_maps(dir).map_err(|source| DataPlaneError::PinDir { path: dir.to_owned(), source })?;
        for last in [false, true] {
            for mut map in skel.object_mut().maps_mut() {
                let name = map.name().to_string_lossy().into_owned();
                if is_pinned(&name) && (name == "control") == last {
                    let path = dir.join(&name);
                    map.pin(&path).map_err(|source| DataPlaneError::Adopt { path, source })?;
                }
            }
        }
    }
    let own = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().map_err(|e| DataPlaneError::load(e.into()));
    let xdp = own(skel.progs.lbd_xdp.as_fd())?;
    let reap = own(skel.progs.lbd_reap.as_fd())?;
    let sweep_embryos = own(skel.progs.lbd_sweep_embryos.as_fd())?;
    let restore = own(skel.progs.lbd_restore.as_fd())?;
    let probe = own(skel.progs.lbd_probe.as_fd())?;
    let endless = own(skel.progs.lbd_endless.as_fd())?;
    macro_rules! handle {
        ($name:ident) => {
            MapHandle::try_from(&skel.maps.$name).map_err(load_error)?
        };
    }
    let maps = Maps {
        control: Arc::new(SharedArray::map(&handle!(control))?),
        ownership: Arc::new(SharedArray::map(&handle!(ownership))?),
        control_map: handle!(control),
        dests_map: handle!(dests),
        sync_events: handle!(sync_events),
        sync_lost: handle!(sync_lost),
        restore_entries: Table::new(handle!(restore_entries)),
        client_places: Table::new(handle!(client_places)),
        ports: Table::new(handle!(ports)),
        tx_ports: Table::new(handle!(tx_ports)),
        addrs: Table::new(handle!(addrs)),
        vips: Table::new(handle!(vips)),
        services: Table::new(handle!(services)),
        service_settings: Table::new(handle!(service_settings)),
        dests: SharedArray::map(&handle!(dests))?,
        members: Table::new(handle!(members)),
        snats: Table::new(handle!(snats)),
        inside: Table::new(handle!(inside)),
        migrants: Table::new(handle!(migrants)),
        actives: Table::new(handle!(actives)),
        names: Table::new(handle!(names)),
        tables: handle!(tables),
        conns: SharedArray::map(&handle!(conns))?,
        server_conns: SharedArray::map(&handle!(server_conns))?,
        traffic: Table::new(handle!(traffic)),
        reasons: Table::new(handle!(reasons)),
        seen_macs: Table::new(handle!(seen_macs)),
        reap_keys: Table::new(handle!(reap_keys)),
        flows: Table::new(handle!(flows)),
        rflows: Table::new(handle!(rflows)),
        persist: Table::new(handle!(persist)),
        probe_places: Table::new(handle!(probe_places)),
        embryo_sets: skel.maps.embryos.max_entries(),
    };
    if adopted && maps.flows.capacity() != limits.connections {
        notes.push(format!(
            "limits.connections is {}, but the running tables hold {}: sizes change when the data plane is started \
             anew (`lbd stop`, which ends its connections)",
            limits.connections,
            maps.flows.capacity()
        ));
    }
    if !adopted {
        set_control(&maps, seed)?;
    } else if let Some(word) = maps.control.word(0, std::mem::offset_of!(control, seed)) {
        // Whoever listened to the events has died with its ring.
        word.fetch_and(!pair(0, u32::MAX), Ordering::AcqRel);
    }
    let shared = SharedMaps::of(skel.object()).map_err(load_error)?;
    Ok(Loaded { maps, shared, xdp, reap, sweep_embryos, restore, probe, endless, earlier, adopted, notes })
}

/// First contents of `control`: no lease yet, so that nothing is answered before the tables are filled.
fn set_control(maps: &Maps, seed: Option<u32>) -> Result<(), DataPlaneError> {
    let seed = match seed {
        Some(seed) => seed,
        None => {
            let mut seed = [0u8; 4];
            getrandom(&mut seed).map_err(|source| DataPlaneError::Random { source })?;
            u32::from_ne_bytes(seed)
        }
    };
    let words = [
        (std::mem::offset_of!(control, lease_until), 0),
        (std::mem::offset_of!(control, layout), pair(LAYOUT, maps.embryo_sets - 1)),
        (std::mem::offset_of!(control, seed), pair(seed, 0)),
    ];
    for (offset, value) in words {
        if let Some(word) = maps.control.word(0, offset) {
            word.store(value, Ordering::Release);
        }
    }
    Ok(())
}

/// Two 32-bit fields that share an 8-byte word, in the order of the structure.
pub fn pair(first: u32, second: u32) -> u64 {
    let [a, b, c, d] = first.to_ne_bytes();
    let [e, f, g, h] = second.to_ne_bytes();
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

fn getrandom(bytes: &mut [u8]) -> io::Result<()> {
    use std::io::Read;
    fs::File::open("/dev/urandom")?.read_exact(bytes)
}

/// Scratch memory, the places of probes, and what is said to and by the peer belong to one load of the program;
/// everything else is pinned.
fn is_pinned(name: &str) -> bool {
    !(variant::is_internal(name)
        || OF_VARIANTS.contains(&name)
        || matches!(name, "packet" | "scratch" | "probe_places" | "sync_events" | "sync_lost" | "restore_entries"))
}

fn pinned_maps<'a, 'obj>(maps: &'a mut OpenLbdMaps<'obj>) -> Vec<&'a mut OpenMapMut<'obj>> {
    vec![
        &mut maps.control,
        &mut maps.ownership,
        &mut maps.ports,
        &mut maps.tx_ports,
        &mut maps.addrs,
        &mut maps.vips,
        &mut maps.services,
        &mut maps.service_settings,
        &mut maps.dests,
        &mut maps.members,
        &mut maps.snats,
        &mut maps.inside,
        &mut maps.migrants,
        &mut maps.actives,
        &mut maps.client_places,
        &mut maps.names,
        &mut maps.tables,
        &mut maps.conns,
        &mut maps.server_conns,
        &mut maps.turns,
        &mut maps.traffic,
        &mut maps.reasons,
        &mut maps.seen_macs,
        &mut maps.reap_keys,
        &mut maps.flows,
        &mut maps.rflows,
        &mut maps.embryos,
        &mut maps.persist,
        &mut maps.persist_new,
        &mut maps.frags,
    ]
}

fn unpin_maps(dir: &Path) -> io::Result<()> {
    pins(dir)?.into_iter().filter(|path| !is_link(path)).try_for_each(fs::remove_file)
}

/// What is pinned in `dir`. Names with a dot are the kernel's own (`maps.debug`): nobody else can make such.
fn pins(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let paths = fs::read_dir(dir)?.map(|entry| entry.map(|e| e.path())).collect::<io::Result<Vec<_>>>()?;
    Ok(paths.into_iter().filter(|path| path.extension().is_none()).collect())
}

fn is_link(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(LINK_PREFIX))
}

const LINK_PREFIX: &str = "link-";

/// The program on each port, by links that are pinned.
#[derive(Default)]
pub struct Attachments {
    dir: Option<PathBuf>,
    links: BTreeMap<IfIndex, Attachment>,
    /// The links still run the program of an earlier daemon, with tables that are not ours.
    foreign: bool,
}

struct Attachment {
    link: OwnedFd,
    native: bool,
}

impl Attachments {
    pub fn new(dir: Option<&Path>) -> Self {
        Self { dir: dir.map(Path::to_owned), links: BTreeMap::new(), foreign: false }
    }

    /// Whether the program runs natively on a port; `None` if it is not on it.
    pub fn native(&self, port: IfIndex) -> Option<bool> {
        self.links.get(&port).map(|a| a.native)
    }

    fn path(&self, port: IfIndex, native: bool) -> Option<PathBuf> {
        let mode = if native { "native" } else { "generic" };
        self.dir.as_ref().map(|dir| dir.join(format!("{LINK_PREFIX}{port}-{mode}")))
    }

    /// Takes over the links that an earlier daemon pinned, and puts `program` behind each at once. `None`: when
    /// its tables are filled, by `set`; what runs goes on until then.
    pub fn adopt(&mut self, program: Option<BorrowedFd<'_>>) -> Result<(), DataPlaneError> {
        let Some(dir) = &self.dir else { return Ok(()) };
        let failed = |path: &Path, source| DataPlaneError::PinDir { path: path.to_owned(), source };
        for entry in fs::read_dir(dir).map_err(|e| failed(dir, e))? {
            let path = entry.map_err(|e| failed(dir, e))?.path();
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let Some(native) = name.strip_prefix(LINK_PREFIX).map(|rest| rest.ends_with("native")) else { continue };
            let link = kernel::pinned(&path).map_err(|e| failed(&path, e))?;
            let port = kernel::link_port(link.as_fd()).map_err(|e| failed(&path, e))?;
            if port == 0 {
                // The interface is gone, and the link with it.
                fs::remove_file(&path).map_err(|e| failed(&path, e))?;
                continue;
            }
            if let Some(program) = program {
                kernel::replace_program(link.as_fd(), program).map_err(|e| failed(&path, e))?;
            }
            self.links.insert(port, Attachment { link, native });
        }
        self.foreign = program.is_none();
        Ok(())
    }

    /// Brings the program to exactly these ports. All are native or all generic: the kernel cannot redirect
    /// from a native port to one whose driver has no native transmit.
    pub fn set(
        &mut self,
        program: BorrowedFd<'_>,
        ports: &[(IfIndex, String)],
        mode: XdpMode,
    ) -> Result<Vec<String>, DataPlaneError> {
        let mut notes = Vec::new();
        if std::mem::take(&mut self.foreign) {
            self.replace(program)?;
        }
        let gone: Vec<IfIndex> =
            self.links.keys().copied().filter(|have| !ports.iter().any(|(want, _)| want == have)).collect();
        for port in gone {
            self.detach(port)?;
        }
        // What has once been found impossible is not tried at every change.
        let native = mode == XdpMode::Native || (mode == XdpMode::Auto && self.links.values().all(|a| a.native));
        for (port, name) in ports {
            match self.put(program, *port, native)? {
                Ok(()) => {}
                Err(error) if native && mode == XdpMode::Auto && is_unsupported(&error) => {
                    notes.push(format!("{name}: the driver has no native XDP ({error}); all ports use generic XDP"));
                    notes.extend(self.set(program, ports, XdpMode::Generic)?);
                    return Ok(notes);
                }
                // The other ports serve all the same.
                Err(source) => notes.push(DataPlaneError::Attach { port: name.clone(), source }.to_string()),
            }
        }
        Ok(notes)
    }

    /// Has the program on a port in the mode; if the kernel refuses, the port stays as it was.
    fn put(&mut self, program: BorrowedFd<'_>, port: IfIndex, native: bool) -> Result<io::Result<()>, DataPlaneError> {
        let before = self.links.get(&port).map(|attachment| attachment.native);
        if before == Some(native) {
            return Ok(Ok(()));
        }
        // The kernel takes no second program in another mode beside the first.
        self.detach(port)?;
        let refused = match kernel::attach_xdp(program, port, native) {
            Ok(link) => return self.keep(port, link, native).map(Ok),
            Err(error) => error,
        };
        if let Some(native) = before
            && let Ok(link) = kernel::attach_xdp(program, port, native)
        {
            self.keep(port, link, native)?;
        }
        Ok(Err(refused))
    }

    /// Puts another program behind each link, at once.
    pub fn replace(&self, program: BorrowedFd<'_>) -> Result<(), DataPlaneError> {
        for (port, attachment) in &self.links {
            kernel::replace_program(attachment.link.as_fd(), program)
                .map_err(|source| DataPlaneError::Attach { port: format!("interface {port}"), source })?;
        }
        Ok(())
    }

    fn keep(&mut self, port: IfIndex, link: OwnedFd, native: bool) -> Result<(), DataPlaneError> {
        if let Some(path) = self.path(port, native) {
            kernel::pin(link.as_fd(), &path).map_err(|source| DataPlaneError::PinDir { path, source })?;
        }
        self.links.insert(port, Attachment { link, native });
        Ok(())
    }

    fn detach(&mut self, port: IfIndex) -> Result<(), DataPlaneError> {
        if let Some(attachment) = self.links.remove(&port)
            && let Some(path) = self.path(port, attachment.native)
        {
            match fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(DataPlaneError::PinDir { path, source: e });
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The driver cannot, as it is set up now: no native XDP, or an MTU or a number of queues that it does not do
/// with it. Not: another program is there, or the port has gone.
fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EINVAL | libc::ERANGE | libc::E2BIG))
}

/// Removes all that is pinned in `dir`, links first so that no port runs a program whose maps go, and
/// unmounts `dir` if it is a bpffs of its own.
pub fn remove_all(dir: &Path) -> Result<(), DataPlaneError> {
    let failed = |source: io::Error| DataPlaneError::PinDir { path: dir.to_owned(), source };
    let mut paths = match pins(dir) {
        Ok(paths) => paths,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed(e)),
    };
    paths.sort_by_key(|path| !is_link(path));
    paths.iter().try_for_each(fs::remove_file).map_err(failed)?;
    match nix::mount::umount(dir) {
        // Not a mount point: the folder of a bpffs that somebody else mounted.
        Ok(()) | Err(nix::Error::EINVAL) => Ok(()),
        Err(errno) => Err(failed(errno.into())),
    }
}
