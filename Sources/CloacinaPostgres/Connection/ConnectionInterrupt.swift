import Synchronization

/// What another thread asks of a connection that is waiting.
final class ConnectionInterrupt: Sendable {
    struct Request: OptionSet {
        let rawValue: UInt8
        static let cancel = Request(rawValue: 1)
        static let close = Request(rawValue: 2)
    }

    private let requests = Atomic<UInt8>(0)
    private let wakeUp: WakeUp

    init(_ wakeUp: WakeUp) { self.wakeUp = wakeUp }

    func request(_ request: Request) {
        self.requests.bitwiseOr(request.rawValue, ordering: .sequentiallyConsistent)
        self.wakeUp.signal()
    }

    var pending: Request { Request(rawValue: self.requests.load(ordering: .sequentiallyConsistent)) }

    /// Forgets an old request to cancel, which belonged to an earlier statement.
    func clearCancel() {
        guard self.pending.contains(.cancel) else { return }
        self.requests.bitwiseAnd(~Request.cancel.rawValue, ordering: .sequentiallyConsistent)
        self.wakeUp.clear()
        if self.pending.contains(.close) { self.wakeUp.signal() }  // that signal was not ours to clear
    }
}
