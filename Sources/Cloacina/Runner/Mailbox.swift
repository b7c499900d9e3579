import Synchronization

/// Where the tasks of one pipeline leave what came of them, for the one loop that acts on it.
///
/// What comes in while the loop writes to the database is taken out together, and so becomes one commit.
final class Mailbox: Sendable {
    enum Mail: Sendable {
        /// A task's code has returned or thrown.
        case finished(Attempt)
        /// A slot was handed over.
        case slot
        /// The pipeline's tasks that may have killed processes may run now.
        case quarantine
        /// Nobody wants the pipeline any more.
        case cancel
        /// It is to stand still.
        case pause
        /// It is not to stand still after all.
        case resume
        /// Somebody else may have claimed the pipeline: what is stored must be looked at.
        case mayBeLost
        /// The pipeline was claimed anew: the run's own claim is lost.
        case superseded
        /// The runner shuts down: nothing new begins.
        case release
        /// The runner waits no longer for what runs.
        case interrupt
        /// What was cancelled has had time enough.
        case graceOver
        /// A commit that was waited for has had time enough.
        case commitOverdue(position: Int, attempt: Int)
        /// A task's next attempt is due.
        case retryDue(position: Int, attempt: Int)
        /// An attempt took too long.
        case timedOut(position: Int, attempt: Int)
        /// The pipeline took too long.
        case pipelineTimedOut
        /// A write that the database did not answer is to be tried again.
        case tryAgain
    }

    private struct State {
        var mail: [Mail] = []
        var reader: CheckedContinuation<[Mail], Never>?
        var isClosed = false
    }
    private let state = Mutex(State())

    /// Leaves mail; false when nobody will read it any more.
    @discardableResult
    func post(_ mail: Mail) -> Bool {
        self.state.withLock { state in
            guard !state.isClosed else { return false }
            if let reader = state.reader.take() { reader.resume(returning: [mail]) } else { state.mail.append(mail) }
            return true
        }
    }

    /// Waits until there is something and takes it all. One reader at a time.
    func take() async -> [Mail] {
        await withCheckedContinuation { continuation in
            self.state.withLock { state in
                if state.mail.isEmpty {
                    state.reader = continuation
                } else {
                    continuation.resume(returning: state.mail)
                    state.mail = []
                }
            }
        }
    }

    /// Takes what there is.
    func takeNow() -> [Mail] {
        self.state.withLock { state in
            defer { state.mail = [] }
            return state.mail
        }
    }

    /// Takes what there is for the last time.
    func close() -> [Mail] {
        self.state.withLock { state in
            defer { state.mail = [] }
            state.isClosed = true
            return state.mail
        }
    }
}
