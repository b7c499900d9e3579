import Synchronization

/// A value that is sent once and waited for once. What is sent later is ignored.
final class OneShot<Value: Sendable>: Sendable {
    private enum State {
        case empty
        case awaited(CheckedContinuation<Value, Never>)
        case sent(Value)
        case over
    }
    private let state = Mutex(State.empty)

    func send(_ value: Value) {
        let reader = self.state.withLock { state -> CheckedContinuation<Value, Never>? in
            switch state {
            case .empty: state = .sent(value)
            case .awaited(let reader):
                state = .over
                return reader
            case .sent, .over: break
            }
            return nil
        }
        reader?.resume(returning: value)
    }

    func wait() async -> Value {
        await withCheckedContinuation { continuation in
            let value = self.state.withLock { state -> Value? in
                guard case .sent(let value) = state else {
                    state = .awaited(continuation)
                    return nil
                }
                state = .over
                return value
            }
            if let value { continuation.resume(returning: value) }
        }
    }
}
