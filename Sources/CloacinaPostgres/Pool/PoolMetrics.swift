import CoreMetrics

/// The pool's metrics, made once. No label carries a tenant's name: that would have no bound.
struct PoolMetrics: Sendable {
    let connections = Meter(label: "cloacina_pool_connections")
    let opened = Counter(label: "cloacina_pool_connections_opened")
    let failedToOpen = Counter(label: "cloacina_pool_connections_failed")
    let recycled = Counter(label: "cloacina_pool_connections_recycled")
    let discarded = Counter(label: "cloacina_pool_connections_discarded")
    let leaksDetected = Counter(label: "cloacina_pool_leaks_detected")
    let timedOut = Counter(label: "cloacina_pool_checkouts_timed_out")
    let waitTime = Timer(label: "cloacina_pool_wait_time")
}
