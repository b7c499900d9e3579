import Synchronization

/// Lets one operation at a time use what cannot be shared, in the order of arrival.
package final class SerialGate: Sendable {
    private struct State {
        var isTaken = false
        var nextTicket: UInt64 = 0
        var waiters: [(ticket: UInt64, continuation: CheckedContinuation<Bool, Never>)] = []
        var cancelled: Set<UInt64> = []
    }

    private let state = Mutex(State())

    package init() {}

    /// Runs a closure when no other is running.
    ///
    /// - Throws: `CancellationError` when the task is cancelled while it waits, or what the closure throws.
    package func withTurn<R>(_ body: () async throws -> R) async throws -> R {
        try await self.enter()
        defer { self.leave() }
        return try await body()
    }

    private func enter() async throws {
        let ticket = self.state.withLock { state in
            defer { state.nextTicket += 1 }
            return state.nextTicket
        }
        let isAdmitted = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let answer: Bool? = self.state.withLock { state in
                    if state.cancelled.remove(ticket) != nil { return false }
                    guard state.isTaken else {
                        state.isTaken = true
                        return true
                    }
                    state.waiters.append((ticket, continuation))
                    return nil
                }
                if let answer { continuation.resume(returning: answer) }
            }
        } onCancel: {
            self.cancel(ticket)
        }
        self.state.withLock { _ = $0.cancelled.remove(ticket) }
        guard isAdmitted else { throw CancellationError() }
    }

    private func cancel(_ ticket: UInt64) {
        let waiter = self.state.withLock { state -> CheckedContinuation<Bool, Never>? in
            guard let index = state.waiters.firstIndex(where: { $0.ticket == ticket }) else {
                state.cancelled.insert(ticket)
                return nil
            }
            return state.waiters.remove(at: index).continuation
        }
        waiter?.resume(returning: false)
    }

    private func leave() {
        let next = self.state.withLock { state -> CheckedContinuation<Bool, Never>? in
            guard !state.waiters.isEmpty else {
                state.isTaken = false
                return nil
            }
            return state.waiters.removeFirst().continuation
        }
        next?.resume(returning: true)
    }
}
