import CloacinaWorkflow
import FoundationEssentials
import Logging

/// The time in which the database does not answer.
extension PipelineRun {
    /// Whether the pipeline was cancelled, or the runner waits no longer for it.
    var isStopping: Bool { self.isInterrupting || self.late == .cancel || self.machine.unheard == .cancel }

    /// Does something in the store again and again, for as long as the claim may stand: until the store answers or refuses for
    /// good. What comes in meanwhile is heard, and nothing begins. Once the pipeline is to stop, that goes on for the time of grace.
    ///
    /// - Throws: The last error of the store; ``PipelineError/Code/takenOver`` when a heartbeat has found that another runner has the
    ///   pipeline.
    mutating func persistently<Value>(
        _ operation: (RunMeans) async throws(PipelineError) -> Value
    ) async throws(PipelineError) -> Value {
        let means = self.means
        var retry = DatabaseRetry(patience: means.configuration.databasePatience, bearsRefusedLogins: true)
        let begin = means.clock.instant()
        var waited = Duration.zero
        var graceEnds: ContinuousClock.Instant?
        while true {
            do throws(PipelineError) {
                return try await operation(means)
            } catch {
                let pause = try retry.pause(after: error, elapsed: begin.duration(to: means.clock.instant()))
                if self.isStopping {
                    let end = graceEnds ?? self.endOfGrace
                    graceEnds = end
                    guard means.clock.instant() < end else { throw error.whileStopping }
                }
                self.note(error, waited: waited, pause: pause)
                waited += pause
                await self.listen(for: pause)
                if let lost = self.lost { throw lost }
                try await self.checkEpoch()
            }
        }
    }

    /// Until when a write is tried again, from now on, when the pipeline is to stop.
    private var endOfGrace: ContinuousClock.Instant {
        let grace = self.means.configuration.cancellationGrace.atMostACentury
        return self.means.clock.instant().advanced(by: max(grace, DatabaseRetry.longestPause))
    }

    /// Hears what comes in for a while.
    private mutating func listen(for pause: Duration) async {
        self.hasHeard = true
        _ = self.timer(pause, .tryAgain)
        var isOver = false
        while !isOver {
            for mail in await self.mailbox.take() {
                if case .tryAgain = mail { isOver = true } else { self.hear(mail) }
            }
        }
    }

    /// Hears what can't change any more what is being written.
    private mutating func hear(_ mail: Mailbox.Mail) {
        guard self.machine.status != .running else { return self.receive(mail) }
        switch mail {
        case .cancel: self.late = .cancel
        case .pause: if self.late != .cancel { self.late = .pause }
        case .resume: if self.late != .cancel { self.late = .resume }
        default: self.receive(mail)
        }
    }

    /// Looks once, when a heartbeat did not find the pipeline among the runner's, who has it. What was stored without an answer
    /// leaves the epoch as it is.
    private mutating func checkEpoch() async throws(PipelineError) {
        guard self.mayBeLost, let standing = try? await self.means.store.standing(of: self.pipeline.id) else { return }
        self.mayBeLost = false
        guard standing.epoch == self.pipeline.epoch, standing.owner == nil || standing.owner == self.machine.worker
        else { throw Self.takenOver }
    }

    private func note(_ error: PipelineError, waited: Duration, pause: Duration) {
        let metadata: Logger.Metadata = [LogKeys.pipeline: "\(self.pipeline.id)", LogKeys.error: "\(error)"]
        self.means.logger.debug("database not reachable", metadata: metadata)
        let patience = self.means.configuration.databasePatience
        guard waited <= patience, waited + pause > patience else { return }
        self.means.logger.warning(
            "what a pipeline came to can't be stored yet, and is tried again", metadata: metadata)
    }
}

extension PipelineError {
    /// The error as whoever waits for a pipeline that was stopped is told.
    fileprivate var whileStopping: PipelineError {
        PipelineError(
            self.code,
            "the pipeline was stopped while the database did not answer, and what it came to last is not stored; the runner puts it "
                + "back into the queue when the database is back",
            underlying: self.underlying)
    }
}
