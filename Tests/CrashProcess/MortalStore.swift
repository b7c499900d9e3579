import FoundationEssentials
import Glibc
import Synchronization

@testable import Cloacina

/// Where a process kills itself, as SIGKILL does.
enum DeathPoint: Sendable, Hashable, Codable {
    typealias Call = StoreWrite

    enum Moment: String, Sendable, Hashable, Codable, CaseIterable {
        /// Before the store is asked.
        case before
        /// When the store has answered, before the runner has heard so.
        case after
    }

    case never
    /// At the n-th write that moves pipelines, from 0.
    case write(Int, Moment)
    /// At the n-th call of a kind, from 0.
    case call(Call, Int, Moment)

    /// Reads what the command line says: 2n before the n-th write, 2n + 1 after it; -1 for none.
    init(number: Int) {
        self = number < 0 ? .never : .write(number / 2, number % 2 == 0 ? .before : .after)
    }
}

extension StoreWrite {
    /// Whether it changes whose a pipeline is, or how far it has come.
    fileprivate var movesPipelines: Bool {
        switch self {
        case .create, .apply, .claim, .recover: true
        case .beat, .ask, .leave, .prune: false
        }
    }
}

/// A store whose process dies at one of its writes.
final class MortalStore: InterceptingWorkflowStore {
    let underlying: any WorkflowStore
    private let point: DeathPoint
    private let mayDie: Set<UUID>?
    private let writes = Atomic<Int>(0)
    private let calls = Mutex<[StoreWrite: Int]>([:])

    /// - Parameter mayDie: The other runners that it lets be looked for; those that it says nothing of live. Any, if nil.
    init(_ store: any WorkflowStore, dyingAt point: DeathPoint, mayDie: Set<UUID>? = nil) {
        self.underlying = store
        self.point = point
        self.mayDie = mayDie
    }

    func writing<R>(
        _ call: StoreWrite, _ write: () async throws(PipelineError) -> R
    ) async throws(PipelineError) -> R {
        let number = self.calls.withLock { calls in
            defer { calls[call, default: 0] += 1 }
            return calls[call, default: 0]
        }
        let writes = call.movesPipelines ? self.writes.wrappingAdd(1, ordering: .relaxed).oldValue : nil
        func comesTo(_ moment: DeathPoint.Moment) -> Bool {
            if let writes, self.point == .write(writes, moment) { return true }
            return self.point == .call(call, number, moment)
        }
        if comesTo(.before) { kill(getpid(), SIGKILL) }
        let result = try await write()
        if comesTo(.after) { kill(getpid(), SIGKILL) }
        return result
    }

    /// Whether it is after something was done that the process dies.
    private var diesAfter: Bool {
        switch self.point {
        case .never: false
        case .write(_, let moment), .call(_, _, let moment): moment == .after
        }
    }

    func claim(_ claim: QueueClaim) async throws(PipelineError) -> [StoredPipeline] {
        // A claim that finds nothing is no fault point: there are any number of them.
        guard !self.diesAfter else {
            let claimed = try await self.underlying.claim(claim)
            return claimed.isEmpty ? [] : try await self.writing(.claim) { () throws(PipelineError) in claimed }
        }
        return try await self.writing(.claim) { () throws(PipelineError) in try await self.underlying.claim(claim) }
    }

    func survey(everyOwner: Bool, at: Date) async throws(PipelineError) -> QueueSurvey {
        var survey = try await self.underlying.survey(everyOwner: everyOwner, at: at)
        if let mayDie { survey.beats = survey.beats.filter { mayDie.contains($0.key) } }
        return survey
    }
}
