//! Which of a driver's counters mean: a frame that XDP wanted sent or kept was lost.

use super::Statistics;

/// Drivers whose counters tell losses from verdicts, and the counters that are
/// losses, with `#` for any number. Verdicts (`xdp_drop`, `xdp_drops`) are left
/// out: the program counts those itself, with their reason. Where a driver has
/// both totals and counters per queue, the totals alone are named.
const LOSSES: &[(&str, &[&str])] = &[
    // drivers/net/veth.c: `drops` is a failed redirect or no memory for the frame on
    // its way to the stack; `xdp_tx_errors` and `xdp_xmit_errors` a full or closed
    // ring at the far end. A far end without GRO and without XDP is in none of them:
    // see `netlink::Handle::drops`.
    ("veth", &["rx_queue_#_drops", "rx_queue_#_xdp_tx_errors", "tx_queue_#_xdp_xmit_errors"]),
    // Documentation/networking/device_drivers/ethernet/mellanox/mlx5/counters.rst
    ("mlx5_core", &["rx_xdp_tx_full", "rx_xdp_tx_err", "tx_xdp_full", "tx_xdp_err"]),
    // drivers/net/ethernet/mellanox/mlx4/en_ethtool.c
    ("mlx4_en", &["rx_xdp_tx_full"]),
    // drivers/net/virtio_net.c; its `xdp_drops` are verdicts and errors in one.
    ("virtio_net", &["tx_queue_#_xdp_tx_drops", "tx#_xdp_tx_drops"]),
    // drivers/net/ethernet/amazon/ena/: a failed redirect counts as aborted. The
    // program never asks for that verdict itself.
    ("ena", &["queue_#_rx_xdp_aborted"]),
    // drivers/net/ethernet/google/gve/gve_ethtool.c
    ("gve", &["rx_xdp_tx_errors[#]", "rx_xdp_redirect_errors[#]", "rx_xdp_alloc_fails[#]", "tx_xdp_xmit_errors[#]"]),
    // drivers/net/ethernet/marvell/, freescale/fec_main.c
    ("mvneta", &["rx_xdp_tx_errors", "tx_xdp_xmit_errors"]),
    ("mvpp2", &["rx_xdp_tx_errors", "tx_xdp_xmit_errors"]),
    ("fec", &["rx_xdp_tx_errors", "tx_xdp_xmit_errors"]),
];

/// Frames lost in XDP or after a redirect, as far as the driver counts them.
/// `None`: this driver has no such counter (i40e, ice, ixgbe, bnxt_en and most
/// others), which is not the same as no loss.
pub fn xdp_losses(driver: &str, statistics: &Statistics) -> Option<u64> {
    let (_, losses) = LOSSES.iter().find(|(name, _)| *name == driver)?;
    let lost = statistics.iter().filter(|(name, _)| losses.contains(&numberless(name).as_str()));
    Some(lost.fold(0, |sum, (_, value)| sum.saturating_add(*value)))
}

/// `rx_queue_12_drops` is `rx_queue_#_drops`; the digit of a word such as `xdp4` goes, too.
fn numberless(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '0'..='9' if out.ends_with('#') => {}
            '0'..='9' => out.push('#'),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statistics(pairs: &[(&str, u64)]) -> Statistics {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    /// As `ethtool -S` of a veth with 2 queues lists them on Linux 6.18, with powers of ten for values.
    const VETH: &[(&str, u64)] = &[
        ("peer_ifindex", 7),
        ("rx_queue_0_xdp_packets", 9_000_000_000),
        ("rx_queue_0_xdp_bytes", 9_000_000_000),
        ("rx_queue_0_drops", 1),
        ("rx_queue_0_xdp_redirect", 9_000_000_000),
        ("rx_queue_0_xdp_drops", 9_000_000_000),
        ("rx_queue_0_xdp_tx", 9_000_000_000),
        ("rx_queue_0_xdp_tx_errors", 10),
        ("rx_queue_11_drops", 100),
        ("rx_queue_11_xdp_drops", 9_000_000_000),
        ("rx_queue_11_xdp_tx_errors", 1_000),
        ("tx_queue_0_xdp_xmit", 9_000_000_000),
        ("tx_queue_0_xdp_xmit_errors", 10_000),
        ("tx_queue_11_xdp_xmit", 9_000_000_000),
        ("tx_queue_11_xdp_xmit_errors", 100_000),
        ("rx_pp_alloc_fast", 9_000_000_000),
    ];

    #[test]
    fn on_veth_lost_frames_count_and_verdicts_do_not() {
        assert_eq!(xdp_losses("veth", &statistics(VETH)), Some(111_111));
    }

    #[test]
    fn on_mlx5_the_totals_count_and_the_rings_do_not_count_again() {
        let names = statistics(&[
            ("rx_xdp_drop", 900),
            ("rx_xdp_redirect", 900),
            ("rx_xdp_tx_xmit", 900),
            ("rx_xdp_tx_full", 1),
            ("rx_xdp_tx_err", 10),
            ("tx_xdp_xmit", 900),
            ("tx_xdp_full", 100),
            ("tx_xdp_err", 1_000),
            ("rx0_xdp_drop", 900),
            ("rx0_xdp_tx_full", 1),
            ("tx0_xdp_full", 100),
        ]);
        assert_eq!(xdp_losses("mlx5_core", &names), Some(1_111));
    }

    #[test]
    fn on_virtio_net_the_counter_that_mixes_verdicts_with_errors_does_not_count() {
        let names = statistics(&[
            ("rx_queue_0_drops", 900),
            ("rx_queue_0_xdp_drops", 900),
            ("tx_queue_0_xdp_tx", 900),
            ("tx_queue_0_xdp_tx_drops", 1),
            ("tx_queue_1_xdp_tx_drops", 10),
        ]);
        assert_eq!(xdp_losses("virtio_net", &names), Some(11));
    }

    #[test]
    fn a_driver_without_such_counters_is_unknown_and_not_without_loss() {
        let names = statistics(&[("rx_dropped", 5), ("tx_busy", 5), ("port.rx_dropped", 5)]);
        for driver in ["i40e", "ixgbe", "ice", "bnxt_en", "tun", ""] {
            assert_eq!(xdp_losses(driver, &names), None, "{driver}");
        }
    }

    #[test]
    fn a_sum_past_the_end_of_the_counter_stays_at_the_end() {
        let names = statistics(&[("rx_queue_0_drops", u64::MAX), ("rx_queue_1_drops", 1)]);
        assert_eq!(xdp_losses("veth", &names), Some(u64::MAX));
    }
}
