import CloacinaPostgres
import CloacinaWorkflow
import FoundationEssentials
import Logging

/// Drives one pipeline: asks the machine, writes what it decides, starts what it claims, until the pipeline has ended.
struct PipelineRun: Sendable {
    let id = UUID.version7()
    let workflow: Workflow
    let input: Context
    let owner: UUID
    let store: any WorkflowStore
    let resource: (any TaskResource)?
    let slots: TaskSlots
    let mailbox: Mailbox
    let patience: Duration
    let logger: Logger

    /// Runs the pipeline to its end. Its task must not be cancelled; ``Mailbox/Mail/cancel`` is the way to stop it.
    func run() async -> Result<PipelineResult, PipelineError> {
        let begin = ContinuousClock.now
        let startedAt = Date()
        var progress = RunProgress(workflow: self.workflow, input: self.input, owner: self.owner)
        let failure = await withDiscardingTaskGroup(returning: PipelineError?.self) { group in
            defer { if progress.hasInFlight { group.cancelAll() } }
            do throws(PipelineError) {
                self.start(try await self.begin(&progress, at: startedAt), &progress, in: &group)
                while !progress.machine.status.isTerminal {
                    if !progress.hasPending { try await self.read(&progress, stopping: group) }
                    self.start(try await self.advance(&progress), &progress, in: &group)
                }
                return nil
            } catch {
                return error
            }
        }
        self.returnSlots(of: progress)
        self.log(progress, failure: failure)
        if let failure { return .failure(failure) }
        let duration = begin.duration(to: .now)
        return Result { () throws(PipelineError) in
            try progress.result(id: self.id, startedAt: startedAt, duration: duration)
        }
    }

    private func start(
        _ claims: [PipelineTransition.Claim], _ progress: inout RunProgress, in group: inout DiscardingTaskGroup
    ) {
        for claim in claims {
            let task = self.workflow.tasks[claim.position]
            let given = progress.start(claim)
            let scope = TaskScope(
                executionID: self.id, workflow: self.workflow.name, task: task.id, attempt: claim.attempt,
                resource: self.resource)
            group.addTask { [mailbox = self.mailbox] in
                mailbox.post(.finished(await Attempt.run(task, claim: claim, given: given, scope: scope)))
            }
        }
    }

    private func read(
        _ progress: inout RunProgress, stopping group: DiscardingTaskGroup
    ) async throws(PipelineError) {
        guard progress.expectsMail else {
            throw PipelineError(.takenOver, "the pipeline's remaining tasks are not this runner's")
        }
        let mail = await self.mailbox.take()
        if mail.contains(where: { if case .cancel = $0 { true } else { false } }) { group.cancelAll() }
        progress.receive(mail, slots: self.slots)
    }

    private func returnSlots(of progress: RunProgress) {
        self.slots.withdraw(self.mailbox)
        let late = self.mailbox.takeNow().count { if case .slot = $0 { true } else { false } }
        self.slots.give(progress.heldSlots + late)
    }

    private func log(_ progress: RunProgress, failure: PipelineError?) {
        var metadata: Logger.Metadata = [
            LogKeys.pipeline: "\(self.id)", LogKeys.workflow: "\(self.workflow.name)",
            LogKeys.status: "\(progress.machine.status.rawValue)",
        ]
        if let failure { metadata[LogKeys.error] = "\(failure)" }
        self.logger.debug("pipeline left", metadata: metadata)
    }
}

// MARK: Writing

extension PipelineRun {
    private func begin(
        _ progress: inout RunProgress, at time: Date
    ) async throws(PipelineError) -> [PipelineTransition.Claim] {
        // A workflow has a root, and so its first transition is never empty.
        guard let first = progress.commit(slots: self.slots, mailbox: self.mailbox) else { return [] }
        let pipeline = NewPipeline(
            id: self.id, workflow: self.workflow.name, input: self.input, tasks: progress.machine.ids,
            owner: self.owner, at: time, first: first)
        let isNew = try await self.patiently { () throws(PipelineError) in try await self.store.create(pipeline) }
        // The id is new, so when it exists, an earlier try was stored although its answer was lost.
        return isNew ? first.claimed : try await self.reload(&progress)
    }

    /// Writes one transition.
    ///
    /// - Returns: The tasks to start.
    private func advance(_ progress: inout RunProgress) async throws(PipelineError) -> [PipelineTransition.Claim] {
        guard let transition = progress.commit(slots: self.slots, mailbox: self.mailbox) else { return [] }
        let change = PipelineChange(id: self.id, owner: self.owner, at: Date(), transition: transition)
        let outcome = try await self.patiently { () throws(PipelineError) in try await self.store.apply(change) }
        guard outcome == .applied else { return try await self.reload(&progress) }
        progress.confirm()
        return transition.claimed
    }

    /// Makes a new machine of what is stored, after somebody else was faster or an answer was lost.
    ///
    /// - Returns: The tasks that this runner has claimed and not started.
    private func reload(_ progress: inout RunProgress) async throws(PipelineError) -> [PipelineTransition.Claim] {
        let stored = try await self.patiently { () throws(PipelineError) in try await self.store.load(self.id) }
        guard let stored else {
            throw PipelineError(.pipelineVanished, "the pipeline's rows were deleted while it ran")
        }
        self.logger.debug("pipeline taken up from the database", metadata: [LogKeys.pipeline: "\(self.id)"])
        return progress.restore(stored, slots: self.slots)
    }

    /// Tries again as long as the connection, not the statement, is what fails.
    private func patiently<Value>(
        _ operation: () async throws(PipelineError) -> Value
    ) async throws(PipelineError) -> Value {
        let deadline = ContinuousClock.now.advanced(by: self.patience)
        var delay = Duration.milliseconds(20)
        while true {
            do throws(PipelineError) {
                return try await operation()
            } catch {
                guard error.isTransient, ContinuousClock.now.advanced(by: delay) < deadline else { throw error }
                self.logger.debug(
                    "database not reachable",
                    metadata: [LogKeys.pipeline: "\(self.id)", LogKeys.error: "\(error)"])
                // This task is never cancelled; if it were, trying again at once would be right.
                try? await Task.sleep(for: delay)
                delay = min(delay * 2, .seconds(1))
            }
        }
    }
}

extension PipelineError {
    /// Whether the same call may succeed when the database is back.
    fileprivate var isTransient: Bool {
        guard self.code == .storageFailed, let error = self.underlying as? PostgresError else { return false }
        let codes: Set<PostgresError.Code> = [
            .connectionFailed, .connectionLost, .connectionClosed, .checkoutTimedOut, .tooManyWaiters,
        ]
        guard !codes.contains(error.code), let state = error.sqlState else { return codes.contains(error.code) }
        // Shutdown and start-up of the server, too many connections, deadlock and serialisation.
        return state.hasPrefix("57P") || ["53300", "40001", "40P01"].contains(state)
    }
}
