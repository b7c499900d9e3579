import Synchronization

/// A connection's condition after its last statement, readable from any thread without waiting.
///
/// The pool reads it at check-in, when nothing runs on the connection any more.
final class ConnectionReport: Sendable {
    private let flags = Atomic<UInt8>(0)
    /// How often the connection has written its output to the socket and waited for the answer.
    let roundTrips = Atomic<Int>(0)

    private let mode = Atomic<UInt8>(PoolerMode.direct.rawValue)

    /// What the connection leads through.
    var pooler: PoolerMode {
        get { PoolerMode(rawValue: self.mode.load(ordering: .acquiring)) ?? .shared }
        set { self.mode.store(newValue.rawValue, ordering: .releasing) }
    }

    struct Flags: OptionSet {
        let rawValue: UInt8
        /// The connection is closed or of no more use.
        static let broken = Flags(rawValue: 1)
        /// A transaction is open or failed.
        static let inTransaction = Flags(rawValue: 2)
        /// The session's path or role was not what its label says, or its settings were changed.
        static let tainted = Flags(rawValue: 4)
        /// The server refused a write because it can only be read, as a demoted primary does.
        static let readOnly = Flags(rawValue: 8)
    }

    var current: Flags { Flags(rawValue: self.flags.load(ordering: .acquiring)) }

    func insert(_ flag: Flags) { self.flags.bitwiseOr(flag.rawValue, ordering: .acquiringAndReleasing) }

    func remove(_ flag: Flags) { self.flags.bitwiseAnd(~flag.rawValue, ordering: .acquiringAndReleasing) }

    func set(_ flag: Flags, _ value: Bool) {
        guard self.current.contains(flag) != value else { return }
        if value { self.insert(flag) } else { self.remove(flag) }
    }
}
