import CLibPQ
import Glibc
import Synchronization

/// Asks the server to stop a connection's current statement.
///
/// `PQcancel` opens a connection of its own and waits for it, so ``send()`` does it on a thread made for that.
@safe final class CancelRequest: @unchecked Sendable {
    /// `PQcancel` is the one libpq call that may be made from any thread (libpq documentation, "Canceling Queries in
    /// Progress"); nothing else touches the pointer before `deinit`.
    private let pointer: OpaquePointer
    private let isFinished = Atomic<Bool>(false)
    private let wakeUp: WakeUp

    init(adopting pointer: OpaquePointer, _ wakeUp: WakeUp) {
        unsafe self.pointer = pointer
        self.wakeUp = wakeUp
    }

    deinit { unsafe PQfreeCancel(self.pointer) }

    /// Sends the request from a thread of its own.
    func send() {
        if !DetachedThread.start({ self.sendAndFinish() }) { self.finish() }
    }

    private func sendAndFinish() {
        cloacina_block_sigpipe()  // older libpq versions don't keep the signal away from a cancel request
        var message = [CChar](repeating: 0, count: 256)
        _ = unsafe PQcancel(self.pointer, &message, 256)
        self.finish()
    }

    private func finish() {
        self.isFinished.store(true, ordering: .releasing)
        self.wakeUp.signal()
    }

    var isOnItsWay: Bool { !self.isFinished.load(ordering: .acquiring) }

    /// Waits until the server has taken the request, so that it can't hit a later statement.
    func waitUntilFinished(milliseconds: Int32) -> Bool {
        var descriptor = pollfd(fd: self.wakeUp.descriptor, events: SocketWait.input, revents: 0)
        while !self.isFinished.load(ordering: .acquiring) {
            let ready = unsafe poll(&descriptor, 1, milliseconds)
            if ready == 0 { return false }
        }
        return true
    }
}
