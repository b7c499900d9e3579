import CoreMetrics
import Synchronization

/// The metrics of a pool and its reserve together, made once. No label carries a tenant's name: that would have no
/// bound.
struct PoolMetrics: Sendable {
    let connections: ConnectionMeter
    let opened: Counter
    let failedToOpen: Counter
    let recycled: Counter
    let discarded: Counter
    let leaksDetected: Counter
    let timedOut: Counter
    let waitTime: Timer

    init(factory: any MetricsFactory) {
        self.connections = ConnectionMeter(Meter(label: "cloacina_pool_connections", factory: factory))
        self.opened = Counter(label: "cloacina_pool_connections_opened", factory: factory)
        self.failedToOpen = Counter(label: "cloacina_pool_connections_failed", factory: factory)
        self.recycled = Counter(label: "cloacina_pool_connections_recycled", factory: factory)
        self.discarded = Counter(label: "cloacina_pool_connections_discarded", factory: factory)
        self.leaksDetected = Counter(label: "cloacina_pool_leaks_detected", factory: factory)
        self.timedOut = Counter(label: "cloacina_pool_checkouts_timed_out", factory: factory)
        self.waitTime = Timer(label: "cloacina_pool_wait_time", factory: factory)
    }
}

/// Adds up the connections of a pool and of its reserve.
final class ConnectionMeter: Sendable {
    private let counts = Mutex((budget: 0, reserve: 0))
    private let meter: Meter

    init(_ meter: Meter) { self.meter = meter }

    func set(_ count: Int, isReserve: Bool) {
        let total = self.counts.withLock { counts in
            if isReserve { counts.reserve = count } else { counts.budget = count }
            return counts.budget + counts.reserve
        }
        self.meter.set(total)
    }
}
