public import FoundationEssentials
import Synchronization

/// A pipeline that was started or put into the queue.
public struct PipelineExecution: Sendable, Identifiable {
    /// The pipeline's id.
    public let id: UUID
    /// True when the call that returned this began the pipeline, or put it into the queue; false when an earlier call did, with the
    /// same idempotency key.
    public let isNew: Bool

    private let runner: DefaultRunner
    /// This process's part in the pipeline that the call began, which may be over by now; nil when it began none here.
    private let own: DefaultRunner.Active?

    init(id: UUID, runner: DefaultRunner, isNew: Bool, own: DefaultRunner.Active? = nil) {
        self.id = id
        self.runner = runner
        self.isNew = isNew
        self.own = own
    }

    /// True when the call that returned this began the pipeline in this process.
    var isOwn: Bool { self.own != nil }

    /// Where it stands.
    public func status() async throws(PipelineError) -> PipelineStatus { try await self.runner.status(of: self.id) }

    /// Waits for its end, wherever it runs, and says what came of it; ``PipelineResult/isNew`` is ``isNew``.
    ///
    /// - Throws: ``PipelineError``; with ``PipelineError/Code/cancelled`` when the caller is cancelled, which leaves the
    ///   pipeline alone.
    public func result() async throws(PipelineError) -> PipelineResult {
        var result = try await self.runner.result(of: self.id)
        result.isNew = self.isNew
        return result
    }

    /// Waits for its end, wherever it runs, but not for longer than a while; see ``DefaultRunner/result(of:within:)``. The result's
    /// ``PipelineResult/isNew`` is ``isNew``.
    ///
    /// - Throws: ``PipelineError``; with ``PipelineError/Code/deadlineExceeded`` when the time is over, and with
    ///   ``PipelineError/Code/cancelled`` when the caller is cancelled. Either leaves the pipeline alone.
    public func result(within limit: Duration) async throws(PipelineError) -> PipelineResult {
        var result = try await self.runner.result(of: self.id, within: limit)
        result.isNew = self.isNew
        return result
    }

    /// Cancels it; see ``DefaultRunner/cancel(_:)``.
    public func cancel() async throws(PipelineError) { try await self.runner.cancel(self.id) }

    /// Pauses it; see ``DefaultRunner/pause(_:)``.
    public func pause() async throws(PipelineError) { try await self.runner.pause(self.id) }

    /// Resumes it; see ``DefaultRunner/resume(_:)``.
    public func resume() async throws(PipelineError) { try await self.runner.resume(self.id) }

    /// Waits for this process's part in it; nil when it has none.
    func waitHere() async -> RunEnd? { await self.own?.task.value }

    func cancelHere() { self.own?.mailbox.post(.cancel) }
}
