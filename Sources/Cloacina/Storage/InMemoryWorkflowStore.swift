package import FoundationEssentials
import Synchronization

/// Keeps pipelines as long as the process lives: the model that the databases are compared with.
package final class InMemoryWorkflowStore: WorkflowStore {
    private let pipelines = Mutex<[UUID: StoredPipeline]>([:])

    package init() {}

    package func create(_ pipeline: NewPipeline) async throws(PipelineError) -> Bool {
        self.pipelines.withLock { pipelines in
            guard pipelines[pipeline.id] == nil else { return false }
            let tasks = pipeline.tasks.map { ($0, StoredPipeline.Task(record: TaskRecord())) }
            var stored = StoredPipeline(
                workflow: pipeline.workflow, status: .running, revision: 0, input: pipeline.input,
                startedAt: pipeline.at, endedAt: nil, tasks: Dictionary(uniqueKeysWithValues: tasks))
            stored.apply(pipeline.first, owner: pipeline.owner, at: pipeline.at)
            pipelines[pipeline.id] = stored
            return true
        }
    }

    package func apply(_ change: PipelineChange) async throws(PipelineError) -> StoreOutcome {
        self.pipelines.withLock { pipelines in
            guard let stored = pipelines[change.id], stored.accepts(change) else { return .staleLease }
            pipelines[change.id]?.apply(change.transition, owner: change.owner, at: change.at)
            return .applied
        }
    }

    package func load(_ id: UUID) async throws(PipelineError) -> StoredPipeline? {
        self.pipelines.withLock { $0[id] }
    }

    /// Takes a pipeline away, as an operator's DELETE would.
    package func delete(_ id: UUID) {
        self.pipelines.withLock { $0[id] = nil }
    }
}

extension StoredPipeline {
    fileprivate func accepts(_ change: PipelineChange) -> Bool {
        self.status == .running && self.revision == change.transition.expectedRevision
            && change.transition.ended.allSatisfy { ended in
                self.tasks[ended.task]?.record.state == .running(owner: change.owner, epoch: ended.epoch)
            }
    }

    fileprivate mutating func apply(_ transition: PipelineTransition, owner: UUID, at: Date) {
        self.revision += 1
        self.status = transition.status
        if transition.status.isTerminal { self.endedAt = at }
        for ended in transition.ended {
            self.tasks[ended.task]?.endedAt = ended.at
            switch ended.outcome {
            case .completed(let delta):
                self.tasks[ended.task]?.record.state = .completed
                self.tasks[ended.task]?.delta = delta
            case .failed(let error):
                self.tasks[ended.task]?.record.state = .failed
                self.tasks[ended.task]?.reason = error
            }
        }
        for claim in transition.claimed {
            self.tasks[claim.task]?.record = TaskRecord(
                state: .running(owner: owner, epoch: claim.epoch), epoch: claim.epoch, attempt: claim.attempt)
            self.tasks[claim.task]?.startedAt = at
        }
        for task in transition.queued { self.tasks[task]?.record.state = .ready }
        for task in transition.skipped {
            self.tasks[task]?.record.state = .skipped(transition.skipReason ?? .cancelled)
            self.tasks[task]?.reason = transition.skipReason?.text
            self.tasks[task]?.endedAt = at
        }
    }
}
