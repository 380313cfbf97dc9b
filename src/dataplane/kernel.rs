//! The kernel boundary of the data plane: maps as typed tables, memory-mapped
//! arrays, links and program runs. All `unsafe` of the data plane is here and in
//! `layout`.

use std::ffi::CString;
use std::io;
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::AtomicU64;

use libbpf_rs::{MapCore, MapFlags, MapHandle};
use nix::sys::mman::{MapFlags as MmapFlags, ProtFlags, mmap, munmap};

use super::DataPlaneError;
use super::layout::Raw;
use crate::core::network::IfIndex;

/// A map with the types of its keys and values.
pub struct Table<K, V> {
    map: MapHandle,
    name: String,
    types: PhantomData<fn(K, V)>,
}

impl<K: Raw, V: Raw> Table<K, V> {
    pub fn new(map: MapHandle) -> Self {
        let name = map.name().to_string_lossy().into_owned();
        Self { map, name, types: PhantomData }
    }

    /// Another descriptor of the same map.
    pub fn try_clone(&self) -> Result<Self, DataPlaneError> {
        let map = MapHandle::try_from(&self.map).map_err(|e| self.error("open", e))?;
        Ok(Self { map, name: self.name.clone(), types: PhantomData })
    }

    fn error(&self, doing: &'static str, source: libbpf_rs::Error) -> DataPlaneError {
        DataPlaneError::Map { map: self.name.clone(), doing, source }
    }

    pub fn handle(&self) -> &MapHandle {
        &self.map
    }

    /// The same map by another descriptor, for another thread.
    pub fn share(&self) -> Result<Self, DataPlaneError> {
        Ok(Self::new(MapHandle::try_from(&self.map).map_err(|e| self.error("share", e))?))
    }

    /// Most entries that it can hold.
    pub fn capacity(&self) -> u32 {
        self.map.max_entries()
    }

    pub fn get(&self, key: &K) -> Result<Option<V>, DataPlaneError> {
        let value = self.map.lookup(key.bytes(), MapFlags::ANY).map_err(|e| self.error("read", e))?;
        Ok(value.and_then(|bytes| V::from_bytes(&bytes)))
    }

    pub fn put(&self, key: &K, value: &V) -> Result<(), DataPlaneError> {
        self.map.update(key.bytes(), value.bytes(), MapFlags::ANY).map_err(|e| self.error("write to", e))
    }

    /// Deletes an entry; one that is not there is as good as deleted.
    pub fn delete(&self, key: &K) -> Result<(), DataPlaneError> {
        match self.map.delete(key.bytes()) {
            Err(e) if e.kind() != libbpf_rs::ErrorKind::NotFound => Err(self.error("delete from", e)),
            _ => Ok(()),
        }
    }

    /// The values of all CPUs, of a per-CPU map.
    pub fn get_per_cpu(&self, key: &K) -> Result<Vec<V>, DataPlaneError> {
        let values = self.map.lookup_percpu(key.bytes(), MapFlags::ANY).map_err(|e| self.error("read", e))?;
        Ok(values.unwrap_or_default().iter().filter_map(|bytes| V::from_bytes(bytes)).collect())
    }

    /// All entries of a per-CPU hash. Entries that come or go meanwhile may be missed.
    pub fn entries_per_cpu(&self) -> Result<Vec<(K, Vec<V>)>, DataPlaneError> {
        let keys = self.map.keys().filter_map(|key| K::from_bytes(&key));
        keys.map(|key| Ok((key, self.get_per_cpu(&key)?))).collect()
    }

    /// Zeroes the values of all CPUs, of a per-CPU map.
    pub fn clear_per_cpu(&self, key: &K) -> Result<(), DataPlaneError> {
        let cpus = libbpf_rs::num_possible_cpus().map_err(|e| self.error("write to", e))?;
        let values = vec![vec![0; size_of::<V>()]; cpus];
        self.map.update_percpu(key.bytes(), &values, MapFlags::ANY).map_err(|e| self.error("write to", e))
    }

    /// All entries, `chunk` at a time; `each` says whether to go on. Entries that come or go meanwhile may
    /// be missed or seen twice. `chunk` must be larger than the fullest hash bucket, which the kernel hands
    /// out whole; 4,096 is ample.
    pub fn scan(&self, chunk: u32, mut each: impl FnMut(&K, &V) -> bool) -> Result<(), DataPlaneError> {
        let mut cursor = ScanCursor::default();
        while let Some(batch) = self.scan_chunk(&mut cursor, chunk)? {
            for (key, value) in &batch {
                if !each(key, value) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The next chunk of a scan, `None` after the last: for whoever must rest between chunks.
    pub fn scan_chunk(&self, cursor: &mut ScanCursor, chunk: u32) -> Result<Option<Vec<(K, V)>>, DataPlaneError> {
        if cursor.done {
            return Ok(None);
        }
        let mut keys = vec![K::default(); chunk as usize];
        let mut values = vec![V::default(); chunk as usize];
        let mut next = [0u8; 64];
        let mut count = chunk;
        let start = if cursor.started { cursor.token.as_mut_ptr() } else { std::ptr::null_mut() };
        // SAFETY: both buffers hold `chunk` elements of the map's key and value size (non-per-CPU maps have
        // values of exactly that size); the tokens are at least as long as a key, which is what arrays and
        // hashes use; the kernel writes no more than `count` elements.
        let result = unsafe {
            libbpf_sys::bpf_map_lookup_batch(
                self.map.as_fd().as_raw_fd(),
                start.cast(),
                next.as_mut_ptr().cast(),
                keys.as_mut_ptr().cast(),
                values.as_mut_ptr().cast(),
                &mut count,
                std::ptr::null(),
            )
        };
        if result < 0 {
            if -result != libc::ENOENT {
                let source = libbpf_rs::Error::from(io::Error::from_raw_os_error(-result));
                return Err(self.error("scan", source));
            }
            cursor.done = true;
        }
        cursor.started = true;
        cursor.token = next;
        keys.truncate(count as usize);
        Ok(Some(keys.into_iter().zip(values).collect()))
    }
}

impl<V: Raw> Table<u32, V> {
    /// Writes the first entries of an array at once.
    pub fn put_first(&self, values: &[V]) -> Result<(), DataPlaneError> {
        let count = u32::try_from(values.len()).unwrap_or(u32::MAX);
        if count == 0 {
            return Ok(());
        }
        let keys: Vec<u8> = (0..count).flat_map(u32::to_ne_bytes).collect();
        let mut bytes = Vec::with_capacity(size_of_val(values));
        values.iter().for_each(|value| bytes.extend_from_slice(value.bytes()));
        self.map.update_batch(&keys, &bytes, count, MapFlags::ANY, MapFlags::ANY).map_err(|e| self.error("write to", e))
    }
}

/// Where a scan stands.
#[derive(Clone)]
pub struct ScanCursor {
    token: [u8; 64],
    started: bool,
    done: bool,
}

impl Default for ScanCursor {
    fn default() -> Self {
        Self { token: [0; 64], started: false, done: false }
    }
}

/// An array map in this process's memory, for words that change while the program reads them.
pub struct SharedArray<V> {
    start: std::ptr::NonNull<libc::c_void>,
    length: NonZeroUsize,
    stride: usize,
    entries: u32,
    value: PhantomData<V>,
}

// SAFETY: the memory is shared with the kernel anyhow; all access is by atomics.
unsafe impl<V> Send for SharedArray<V> {}
// SAFETY: as above.
unsafe impl<V> Sync for SharedArray<V> {}

impl<V: Raw> SharedArray<V> {
    pub fn map(map: &MapHandle) -> Result<Self, DataPlaneError> {
        let stride = size_of::<V>().next_multiple_of(8);
        let entries = map.max_entries();
        let length = NonZeroUsize::new((stride * entries as usize).next_multiple_of(4096)).unwrap_or(NonZeroUsize::MIN);
        // SAFETY: a new mapping, at an address of the kernel's choice, of a BPF_F_MMAPABLE array; its length
        // is what the kernel computes for the same array.
        let start = unsafe {
            mmap(None, length, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MmapFlags::MAP_SHARED, map.as_fd(), 0)
        }
        .map_err(|errno| DataPlaneError::Share { map: map.name().to_string_lossy().into_owned(), errno })?;
        Ok(Self { start, length, stride, entries, value: PhantomData })
    }

    /// The 8-byte word at `offset` (from `offset_of!`) of an entry; `None` beyond the array.
    pub fn word(&self, index: u32, offset: usize) -> Option<&AtomicU64> {
        if index >= self.entries || !offset.is_multiple_of(8) || offset + 8 > self.stride {
            return None;
        }
        // SAFETY: inside the mapping, aligned (the mapping is page-aligned, stride and offset are multiples
        // of 8), alive as long as `self`, and shared with the program as an atomic is.
        Some(unsafe {
            &*self.start.as_ptr().cast::<u8>().add(index as usize * self.stride + offset).cast::<AtomicU64>()
        })
    }

    /// Copies an entry out, word by word: each word is whole, the words need not be of one moment.
    pub fn read(&self, index: u32) -> Option<V> {
        let mut bytes = Vec::with_capacity(self.stride);
        for offset in (0..self.stride).step_by(8) {
            let word = self.word(index, offset)?.load(std::sync::atomic::Ordering::Relaxed);
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        V::from_bytes(&bytes)
    }
}

impl<V> Drop for SharedArray<V> {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `map`, which nothing refers to any more.
        let _ = unsafe { munmap(self.start, self.length.get()) };
    }
}

/// A ring buffer map (BPF_MAP_TYPE_RINGBUF), read by one reader.
///
/// The kernel maps the reader's position, the writers' position, and the data, twice in a row so that a record
/// which wraps around is contiguous. Each record has a header of 8 bytes whose first word is its length, with two
/// flags (kernel/bpf/ringbuf.c).
pub struct RingReader {
    consumer: std::ptr::NonNull<libc::c_void>,
    producer: std::ptr::NonNull<libc::c_void>,
    page: NonZeroUsize,
    producer_length: NonZeroUsize,
    size: u64,
}

// SAFETY: the memory is shared with the kernel anyhow; positions and headers are read and written by atomics, and
// taking records wants `&mut self`.
unsafe impl Send for RingReader {}

impl RingReader {
    const BUSY: u32 = 1 << 31;
    const DISCARD: u32 = 1 << 30;
    const HEADER: u64 = 8;

    pub fn map(map: &MapHandle) -> Result<Self, DataPlaneError> {
        let failed = |errno| DataPlaneError::Share { map: map.name().to_string_lossy().into_owned(), errno };
        let size = u64::from(map.max_entries());
        let page_bytes = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).map_err(failed)?;
        let page = page_bytes.and_then(|bytes| usize::try_from(bytes).ok()).and_then(NonZeroUsize::new);
        let page = page.ok_or_else(|| failed(nix::Error::EINVAL))?;
        let producer_length = page.saturating_add(2 * map.max_entries() as usize);
        let both = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping, at an address of the kernel's choice, of the page with the reader's position.
        let consumer = unsafe { mmap(None, page, both, MmapFlags::MAP_SHARED, map.as_fd(), 0) }.map_err(failed)?;
        let offset = i64::try_from(page.get()).map_err(|_| failed(nix::Error::EINVAL))?;
        // SAFETY: as above, of the page with the writers' position and the data twice; they are read only.
        let producer =
            unsafe { mmap(None, producer_length, ProtFlags::PROT_READ, MmapFlags::MAP_SHARED, map.as_fd(), offset) };
        match producer {
            Ok(producer) => Ok(Self { consumer, producer, page, producer_length, size }),
            Err(errno) => {
                // SAFETY: the mapping just made, which nothing refers to.
                let _ = unsafe { munmap(consumer, page.get()) };
                Err(failed(errno))
            }
        }
    }

    /// Hands over at most `max` records, those too short for the type left out; how many were taken.
    pub fn consume<V: Raw>(&mut self, max: usize, mut each: impl FnMut(&V)) -> usize {
        self.consume_bytes(max, |bytes| {
            if let Some(value) = V::from_bytes(bytes) {
                each(&value);
            }
        })
    }

    /// The same of records of any length.
    pub fn consume_bytes(&mut self, max: usize, mut each: impl FnMut(&[u8])) -> usize {
        use std::sync::atomic::{AtomicU32, Ordering};
        // SAFETY: the first word of a mapped page, which the kernel and this reader use as an atomic.
        let (position, end) =
            unsafe { (&*self.consumer.as_ptr().cast::<AtomicU64>(), &*self.producer.as_ptr().cast::<AtomicU64>()) };
        let mut at = position.load(Ordering::Relaxed);
        let end = end.load(Ordering::Acquire);
        let mut taken = 0;
        while taken < max && at < end {
            let offset = (at & (self.size - 1)) as usize;
            // SAFETY: below the size of the data, which begins after the page with the writers' position; records
            // are aligned to 8 bytes.
            let record = unsafe { self.producer.as_ptr().cast::<u8>().add(self.page.get() + offset) };
            // SAFETY: the header of a record that the writers' position says is there.
            let header = unsafe { &*record.cast::<AtomicU32>() }.load(Ordering::Acquire);
            if header & Self::BUSY != 0 {
                break;
            }
            let length = header & !(Self::BUSY | Self::DISCARD);
            if header & Self::DISCARD == 0 && u64::from(length) <= self.size {
                // SAFETY: the record is complete and not written any more until the reader's position passes it;
                // it lies within the data or its second mapping.
                let bytes = unsafe { std::slice::from_raw_parts(record.add(Self::HEADER as usize), length as usize) };
                each(bytes);
            }
            at += (u64::from(length) + Self::HEADER).next_multiple_of(8);
            position.store(at, Ordering::Release);
            taken += 1;
        }
        taken
    }
}

impl Drop for RingReader {
    fn drop(&mut self) {
        // SAFETY: the mappings made in `map`, which nothing refers to any more.
        let _ = unsafe { munmap(self.consumer, self.page.get()) };
        // SAFETY: as above.
        let _ = unsafe { munmap(self.producer, self.producer_length.get()) };
    }
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(result) }
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

/// Attaches an XDP program to a port by a link, natively or generically.
pub fn attach_xdp(program: BorrowedFd<'_>, port: IfIndex, native: bool) -> io::Result<OwnedFd> {
    const XDP_FLAGS_SKB_MODE: u32 = 2;
    const XDP_FLAGS_DRV_MODE: u32 = 4;
    let options = libbpf_sys::bpf_link_create_opts {
        sz: size_of::<libbpf_sys::bpf_link_create_opts>() as libbpf_sys::size_t,
        flags: if native { XDP_FLAGS_DRV_MODE } else { XDP_FLAGS_SKB_MODE },
        ..Default::default()
    };
    let target = i32::try_from(port).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: plain numbers and an options structure that lives through the call.
    let fd = check(unsafe { libbpf_sys::bpf_link_create(program.as_raw_fd(), target, libbpf_sys::BPF_XDP, &options) })?;
    // SAFETY: a descriptor that the call has just made, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Puts another program behind a link, at once: no packet meets none.
pub fn replace_program(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: plain numbers; no options.
    check(unsafe { libbpf_sys::bpf_link_update(link.as_raw_fd(), program.as_raw_fd(), std::ptr::null()) }).map(drop)
}

/// Index of the interface that an XDP link is attached to; 0 if the interface is gone.
pub fn link_port(link: BorrowedFd<'_>) -> io::Result<IfIndex> {
    let mut info = libbpf_sys::bpf_link_info::default();
    let mut length = size_of::<libbpf_sys::bpf_link_info>() as u32;
    // SAFETY: the kernel writes at most `length` bytes into `info`.
    check(unsafe {
        libbpf_sys::bpf_obj_get_info_by_fd(link.as_raw_fd(), std::ptr::from_mut(&mut info).cast(), &mut length)
    })?;
    // SAFETY: of the union's members this is the one of an XDP link, and all are plain numbers.
    Ok(unsafe { info.__bindgen_anon_1.xdp.ifindex })
}

pub fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    // SAFETY: a descriptor and a C string that live through the call.
    check(unsafe { libbpf_sys::bpf_obj_pin(object.as_raw_fd(), path.as_ptr()) }).map(drop)
}

pub fn pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    // SAFETY: a C string that lives through the call.
    let fd = check(unsafe { libbpf_sys::bpf_obj_get(path.as_ptr()) })?;
    // SAFETY: a descriptor that the call has just made, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What a run of an XDP program on one frame gave.
#[derive(Debug)]
pub struct Run {
    /// `XDP_DROP`, …
    pub verdict: u32,
    pub frame: Vec<u8>,
    /// Mean of the repetitions, nanoseconds.
    pub duration_ns: u32,
}

/// Runs an XDP program on a frame (BPF_PROG_TEST_RUN), as if it had come in by `ingress`, an interface of
/// this network namespace, or by none.
pub fn run(program: BorrowedFd<'_>, frame: &[u8], ingress: Option<IfIndex>, repeat: u32) -> io::Result<Run> {
    let mut out = vec![0u8; 4096];
    let context = libbpf_sys::xdp_md {
        data: 0,
        data_end: u32::try_from(frame.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
        ingress_ifindex: ingress.unwrap_or(0),
        ..Default::default()
    };
    let mut options = libbpf_sys::bpf_test_run_opts {
        sz: size_of::<libbpf_sys::bpf_test_run_opts>() as libbpf_sys::size_t,
        data_in: frame.as_ptr().cast(),
        data_size_in: frame.len() as u32,
        data_out: out.as_mut_ptr().cast(),
        data_size_out: out.len() as u32,
        repeat: i32::try_from(repeat).unwrap_or(i32::MAX),
        ..Default::default()
    };
    if ingress.is_some() {
        options.ctx_in = std::ptr::from_ref(&context).cast();
        options.ctx_size_in = size_of::<libbpf_sys::xdp_md>() as u32;
    }
    // SAFETY: all buffers live through the call and have the sizes that the options state.
    check(unsafe { libbpf_sys::bpf_prog_test_run_opts(program.as_raw_fd(), &mut options) })?;
    out.truncate(options.data_size_out as usize);
    Ok(Run { verdict: options.retval, frame: out, duration_ns: options.duration })
}

/// Makes a scheduling table for `tables`: an inner array of its own size.
pub fn inner_table(words: &[u32]) -> Result<MapHandle, DataPlaneError> {
    let failed = |source| DataPlaneError::Map { map: "table".into(), doing: "make", source };
    let options = libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
        map_flags: libbpf_sys::BPF_F_INNER_MAP,
        ..Default::default()
    };
    let entries = u32::try_from(words.len()).unwrap_or(u32::MAX).max(1);
    let map = MapHandle::create(libbpf_rs::MapType::Array, Some("table"), 4, 4, entries, &options).map_err(failed)?;
    let keys: Vec<u8> = (0..entries).flat_map(u32::to_ne_bytes).collect();
    let values: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    map.update_batch(&keys, &values, entries, MapFlags::ANY, MapFlags::ANY).map_err(failed)?;
    Ok(map)
}
