import Foundation
import Testing

@testable import Cloacina

/// Reads what processes have left in a file and in the log of what their tasks did, and says what of it can't be.
struct FileAudit {
    /// That a task's code ran.
    private struct Run: Hashable {
        let pipeline: String
        let task: String
        let attempt: Int
        let runner: UUID
    }

    private let file: SharedFile
    private let survivor: DefaultRunner
    private let ghost: UUID?

    init(_ file: SharedFile, survivor: DefaultRunner, ghost: UUID?) {
        self.file = file
        self.survivor = survivor
        self.ghost = ghost
    }

    /// Checks a file of which everything that a process left was taken over and has ended.
    ///
    /// - Parameter known: The pipelines that must be there beside those that were accepted. One more may be, of which the process
    ///   died before it could say that it was.
    func check(_ known: [UUID], ending status: PipelineStatus = .completed) async throws {
        let store = try await self.file.store()
        let pipelines = try await self.pipelines(store)
        let accepted = Set(try self.file.notes("accepted").map { $0[0] })
        let expected = accepted.union(known.map(\.uuidString))
        let old = Set(try self.file.notes("old").map { $0[0] })
        let found = Set(pipelines.map(\.id.uuidString))
        #expect(found.isSuperset(of: expected), "lost: \(expected.subtracting(found))")
        #expect(found.subtracting(expected).subtracting(old).count <= 1)
        // They were deleted together, or not at all.
        #expect([0, old.count].contains(found.intersection(old).count))
        for pipeline in pipelines {
            #expect(pipeline.status == status && pipeline.owner == nil && pipeline.dueAt == nil, "\(pipeline)")
        }
        try await self.checkRows(store)
        try self.checkHistories(pipelines)
    }

    private func pipelines(_ store: SQLiteWorkflowStore) async throws -> [StoredPipeline] {
        var pipelines: [StoredPipeline] = []
        for summary in try await store.list(PipelineQuery(limit: .max)) {
            pipelines.append(try #require(try await store.load(summary.id)))
        }
        return pipelines
    }

    /// The file is sound, each revision told of, and nobody is waited for who is dead.
    private func checkRows(_ store: SQLiteWorkflowStore) async throws {
        #expect(try await store.database.texts("PRAGMA integrity_check") == ["ok"])
        let impossible = [
            "revisions that the history does not tell of, or that it makes up": """
            SELECT hex(id) FROM cloacina_pipelines AS p WHERE (
                SELECT count(DISTINCT revision) || ' ' || min(revision) || ' ' || max(revision) FROM cloacina_events
                WHERE pipeline_id = p.id) IS NOT revision || ' 1 ' || revision
            """,
            "lines that are missing": """
            SELECT hex(pipeline_id) || ' ' || revision FROM cloacina_events GROUP BY pipeline_id, revision
            HAVING count(*) <> max(position) + 1
            """,
            "lines of no pipeline": """
            SELECT DISTINCT hex(pipeline_id) FROM cloacina_events
            WHERE pipeline_id NOT IN (SELECT id FROM cloacina_pipelines)
            """,
        ]
        for (what, query) in impossible { #expect(try await store.database.texts(query).isEmpty, "\(what)") }
        let known = try await store.beats(everyOwner: true).keys
        #expect(Set(known).isSubset(of: [self.survivor.id]))
    }

    private func checkHistories(_ pipelines: [StoredPipeline]) throws {
        let names = try self.file.notes("runner")
        let victims = names.filter { $0[0] == "victim" }.compactMap { UUID(uuidString: $0[1]) }
        let runners = Dictionary(names.map { ($0[0], $0[1]) }) { $1 }.compactMapValues { UUID(uuidString: $0) }
        let runs = try self.file.notes("ran").map { words in
            // Whoever prepared the file is a survivor as well; nothing that it ran is looked at.
            Run(
                pipeline: words[0], task: words[1], attempt: try #require(Int(words[2])),
                runner: try #require(runners[words[3]]))
        }
        let repeated = Dictionary(grouping: runs) { "\($0.pipeline) \($0.task) \($0.attempt)" }.filter { $1.count > 1 }
        #expect(repeated.isEmpty, "attempts that ran twice: \(repeated.keys)")
        let old = Set(try self.file.notes("old").map { $0[0] })
        let byPipeline = Dictionary(grouping: runs, by: \.pipeline)
        for pipeline in pipelines where !old.contains(pipeline.id.uuidString) {
            let history = pipeline.events.map { event in
                [event.kind.rawValue, event.task, "\(event.attempt)", event.worker?.uuidString, event.detail]
                    .compactMap { $0 }.joined(separator: " ")
            }.joined(separator: "\n")
            let comment = "\(pipeline.id)\n\(history)\nvictim \(victims), survivor \(self.survivor.id)"
            self.checkOwners(pipeline, victims, "\(comment)")
            self.checkRuns(byPipeline[pipeline.id.uuidString] ?? [], of: pipeline, victims, "\(comment)")
        }
    }

    /// Whoever goes on with a pipeline of somebody who died has it from whoever says so.
    private func checkOwners(_ pipeline: StoredPipeline, _ victims: [UUID], _ comment: Comment) {
        var owner: UUID?
        var recoveries = 0
        for event in pipeline.events {
            switch event.kind {
            case .pipelineStarted:
                #expect(owner == nil || event.task != nil, "begun by two: \(comment)")
                owner = event.worker
            case .pipelineRecovered:
                recoveries += 1
                guard let dead = owner else {
                    Issue.record("recovered from nobody: \(comment)")
                    continue
                }
                #expect(dead == self.ghost || victims.contains(dead), "recovered from the living: \(comment)")
                #expect(event.detail == PipelineEvent.recovery(of: dead), comment)
                #expect(event.worker != dead && event.worker != nil, comment)
                owner = nil
            case .pipelineReleased, .pipelinePaused: owner = nil
            default: #expect(event.worker == owner || event.worker == nil || owner == nil, comment)
            }
        }
        #expect(pipeline.recoveries == recoveries, comment)
        #expect(pipeline.events.last?.worker == owner, comment)
    }

    /// Each attempt that ended is one that ran, of the same runner; one that ran and did not end was cut off by its process's
    /// death, of which the history tells.
    private func checkRuns(_ runs: [Run], of pipeline: StoredPipeline, _ victims: [UUID], _ comment: Comment) {
        let ends = pipeline.events.filter { [.taskCompleted, .taskRetrying, .taskFailed].contains($0.kind) }
        for end in ends {
            #expect(
                runs.contains { $0.task == end.task && $0.attempt == end.attempt && $0.runner == end.worker },
                "\(end.task ?? "") never ran: \(comment)")
        }
        let completed = ends.filter { $0.kind == .taskCompleted }.compactMap(\.task)
        #expect(Set(completed).count == completed.count, "tasks that completed twice: \(comment)")
        for run in runs {
            let count = ends.count { $0.task == run.task && $0.attempt == run.attempt }
            guard count != 1 else { continue }
            #expect(count == 0, "ended twice: \(run) \(comment)")
            #expect(victims.contains(run.runner), "ran and did not end: \(run) \(comment)")
            let recoveries = pipeline.events.count {
                $0.kind == .pipelineRecovered && $0.detail == PipelineEvent.recovery(of: run.runner)
                    && $0.worker == self.survivor.id
            }
            #expect(recoveries == 1, "cut off, and the history says nothing of it: \(run) \(comment)")
        }
    }
}
