import Foundation
import Synchronization
import TestSupport
import Testing

@testable import Cloacina

/// Processes that share a file with this one, and are killed, really, at a certain point. Afterwards the file must show that
/// nothing was lost, and the log of what the tasks did, which no transaction takes back, that no attempt ran twice.
@Suite(.timeLimit(.minutes(5))) struct KilledProcessTests {
    /// Points that every process comes to that runs ``Victim/serve(_:dying:ghost:)``.
    private static let writes: [(DeathPoint.Call, Int)] = [
        (.prune, 0), (.create, 0), (.create, 1), (.beat, 0), (.beat, 1), (.claim, 0), (.recover, 0), (.apply, 0),
        (.apply, 1), (.apply, 2), (.apply, 3), (.leave, 0),
    ]

    static let points: [DeathPoint] =
        Self.writes.flatMap { call, number in
            DeathPoint.Moment.allCases.map { DeathPoint.write(call, number, $0) }
        } + [
            .task("first", attempt: 1), .task("left", attempt: 1), .task("flaky", attempt: 1),
            .task("flaky", attempt: 2), .task("last", attempt: 1),
        ]

    /// With a runner beside it that writes to the file all the time, or with nobody else: then the log is read by whoever opens
    /// the file next.
    @Test(arguments: Self.points, [true, false])
    func aProcessThatIsKilledLosesNothingAndRepeatsNoAttempt(point: DeathPoint, isShared: Bool) async throws {
        try await withTemporaryDirectory { directory in
            let file = SharedFile(directory)
            let ghost = UUID.version7()
            // In a process of its own, which has the file no longer open afterwards.
            await #expect(processExitsWith: .success) { [path = file.path as String, ghost = ghost as UUID] in
                try await SharedFile(URL(filePath: path)).prepare(ghost: ghost)
            }
            let beside = isShared ? try await file.runner() : nil
            let hasEnded = Atomic(false)
            async let load = file.load(beside) { hasEnded.load(ordering: .relaxed) }
            await #expect(processExitsWith: .signal(SIGKILL)) {
                [path = file.path as String, point = point as DeathPoint, ghost = ghost as UUID] in
                try await Victim.serve(SharedFile(URL(filePath: path)), dying: point, ghost: ghost)
            }
            hasEnded.store(true, ordering: .relaxed)
            let loaded = try await load
            let survivor = if let beside { beside } else { try await file.runner() }
            try await file.takeOver(survivor)
            try await FileAudit(file, survivor: survivor, ghost: ghost).check(loaded)
        }
    }

    /// A pipeline of this process's, of which the other one wants something.
    @Test(arguments: 0..<3, DeathPoint.Moment.allCases)
    func whatAProcessThatIsKilledHasAskedForIsDoneOrWasNever(number: Int, moment: DeathPoint.Moment) async throws {
        let requests: [PipelineRequest] = [.pause, .resume, .cancel]
        try await withTemporaryDirectory { directory in
            let file = SharedFile(directory)
            let (begun, mayEnd) = (Tally(), Tally())
            let workflow = try Workflow("held") {
                WorkflowTask("held") { _, scope in
                    begun.add()
                    await mayEnd.reached(1)
                    try file.note(scope, by: "survivor")
                }
                // A request is heard with the write that begins this one.
                WorkflowTask("behind", after: "held") { _, scope in try file.note(scope, by: "survivor") }
                WorkflowTask("last", after: "behind") { _, scope in try file.note(scope, by: "survivor") }
            }
            let owner = try await file.runner(workflow)
            let execution = try await owner.executeAsync("held")
            await begun.reached(1)
            await #expect(processExitsWith: .signal(SIGKILL)) {
                [
                    path = file.path as String, id = execution.id as UUID,
                    point = DeathPoint.write(.ask, number, moment) as DeathPoint
                ] in
                try await Victim.ask(SharedFile(URL(filePath: path)), of: id, dying: point)
            }
            let stored = try await owner.store.load(execution.id)?.request
            let (earlier, asked) = (number > 0 ? requests[number - 1] : nil, requests[number])
            switch moment {
            case .before, .torn: #expect(stored == earlier)
            case .written: #expect(stored == earlier || stored == asked)
            case .after: #expect(stored == asked)
            }
            mayEnd.add()
            _ = await execution.waitHere()
            #expect(
                try await owner.status(of: execution.id)
                    == (stored == .cancel ? .cancelled : stored == .pause ? .paused : .completed))
            if stored == .pause { try await owner.resume(execution.id) }
            try await file.takeOver(owner)
            let end = stored == .cancel ? PipelineStatus.cancelled : .completed
            try await FileAudit(file, survivor: owner, ghost: nil).check([execution.id], ending: end)
        }
    }
}

/// What the processes share: the file, and beside it a log of what the tasks did.
struct SharedFile: Sendable {
    private let directory: URL

    init(_ directory: URL) { self.directory = directory }

    var path: String { self.directory.path(percentEncoded: false) }

    func store() async throws -> SQLiteWorkflowStore {
        try await SQLiteWorkflowStore(opening: self.directory.appending(path: "p.db"))
    }

    /// Adds a line to the log, as one write that nothing comes between.
    func note(_ words: String...) throws {
        let line = words.joined(separator: " ") + "\n"
        let log = unsafe open(
            self.directory.appending(path: "log").path(percentEncoded: false), O_WRONLY | O_CREAT | O_APPEND, 0o600)
        defer { close(log) }
        let written = unsafe line.utf8.withContiguousStorageIfAvailable { unsafe write(log, $0.baseAddress, $0.count) }
        try #require(written == line.utf8.count)
    }

    func note(_ scope: TaskScope, by process: String) throws {
        try self.note("ran", "\(scope.executionID)", scope.task, "\(scope.attempt)", process)
    }

    /// The log's lines that begin with a word, without it.
    func notes(_ word: String) throws -> [[String]] {
        let log = try String(contentsOf: self.directory.appending(path: "log"), encoding: .utf8)
        return log.split(separator: "\n").map { $0.split(separator: " ").map(String.init) }.filter { $0[0] == word }
            .map { Array($0.dropFirst()) }
    }

    /// The workflow that every process knows.
    func workflow(in process: String, dying point: DeathPoint? = nil) throws -> Workflow {
        @Sendable func run(_ scope: TaskScope) throws {
            try self.note(scope, by: process)
            if point == .task(scope.task, attempt: scope.attempt) { kill(getpid(), SIGKILL) }
        }
        return try Workflow("w") {
            WorkflowTask("first") { context, scope in
                try run(scope)
                try context.set("first", to: scope.attempt)
            }
            WorkflowTask("left", after: "first") { _, scope in try run(scope) }
            WorkflowTask("flaky", after: "first", retry: .fixed(100, delay: .zero)) { _, scope in
                try run(scope)
                if scope.attempt == 1 { throw Flake() }
            }
            WorkflowTask("last", after: "left", "flaky") { context, scope in
                try run(scope)
                try context.set("last", to: context.get("first", as: Int.self))
            }
        }
    }

    private struct Flake: Error {}

    /// A runner of this process's, for which everybody is dead that it sees twice with the same number.
    func runner(_ workflows: Workflow...) async throws -> DefaultRunner {
        var configuration = RunnerConfiguration()
        configuration.leaseDuration = .nanoseconds(1)
        let load = try Workflow("load") {
            WorkflowTask("one") { _, scope in try self.note(scope, by: "survivor") }
            WorkflowTask("two", after: "one") { _, scope in try self.note(scope, by: "survivor") }
        }
        let runner = try DefaultRunner(
            store: try await self.store(), workflows: [try self.workflow(in: "survivor"), load] + workflows,
            configuration: configuration)
        try self.note("runner", "survivor", "\(runner.id)")
        return runner
    }

    /// Leaves two pipelines that ended, three that wait, and one of a runner that died of something else.
    func prepare(ghost: UUID) async throws {
        let runner = try await self.runner()
        for _ in 0..<2 { try self.note("old", "\(try await runner.execute("load").id)") }
        for _ in 0..<3 { try self.note("accepted", "\(try await runner.enqueue("w").id)") }
        let orphan = NewPipeline(try self.workflow(in: "survivor"), owner: ghost, at: .now)
        _ = try await runner.store.create([orphan])
        try self.note("accepted", "\(orphan.id)")
        _ = try await runner.store.beat(ghost, number: 7, pipelines: [], at: .now)
        await runner.shutDown(drain: .zero)
    }

    /// Has a runner, if there is one, write to the file until it is enough.
    func load(_ runner: DefaultRunner?, until isEnough: @Sendable () -> Bool) async throws -> [UUID] {
        var ids: [UUID] = []
        while let runner, !isEnough() { ids.append(try await runner.execute("load").id) }
        return ids
    }

    /// Takes what the others have left, and runs it to its end; after that nobody is waited for any more.
    func takeOver(_ runner: DefaultRunner) async throws {
        let open = PipelineQuery(statuses: [.queued, .running])
        while true {
            let others = try await runner.store.beats(everyOwner: true).keys.filter { $0 != runner.id }
            if others.isEmpty, try await runner.list(open).isEmpty { return }
            await runner.serveOnce()
            await Task.yield()
        }
    }
}

/// What the process does that is killed at it.
enum Victim {
    private static func runner(
        _ file: SharedFile, dying point: DeathPoint, mayDie: Set<UUID>
    ) async throws -> DefaultRunner {
        var configuration = RunnerConfiguration()
        configuration.leaseDuration = .nanoseconds(1)
        configuration.heartbeatInterval = .milliseconds(1)
        let runner = try DefaultRunner(
            store: MortalStore(try await file.store(), dyingAt: point, mayDie: mayDie),
            workflows: [try file.workflow(in: "victim", dying: point)], configuration: configuration)
        try file.note("runner", "victim", "\(runner.id)")
        return runner
    }

    /// Comes to every kind of write but requests, and ends by itself if it lives.
    static func serve(_ file: SharedFile, dying point: DeathPoint, ghost: UUID) async throws {
        let runner = try await Self.runner(file, dying: point, mayDie: [ghost])
        _ = try await runner.prune(endedBefore: .now, limit: 2)
        try file.note("accepted", "\(try await runner.enqueue("w").id)")
        try file.note("accepted", "\(try await runner.executeAsync("w").id)")
        let open = PipelineQuery(workflow: "w", statuses: [.queued, .running])
        while try await !runner.list(open).isEmpty {
            await runner.serveOnce()
            await Task.yield()
        }
        await runner.shutDown(drain: .zero)
    }

    /// Asks for one thing after the other of a pipeline that another process has.
    static func ask(_ file: SharedFile, of id: UUID, dying point: DeathPoint) async throws {
        let runner = try await Self.runner(file, dying: point, mayDie: [])
        try await runner.pause(id)
        try await runner.resume(id)
        try await runner.cancel(id)
    }
}
