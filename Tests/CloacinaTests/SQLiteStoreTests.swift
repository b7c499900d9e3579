import CloacinaSchema
import Dispatch
import EngineTestSupport
import FoundationEssentials
import Testing

@testable import Cloacina

@Suite(.timeLimit(.minutes(15))) struct SQLiteStoreTests {
    /// Lends a directory that is gone afterwards.
    private func withDirectory<R>(
        _ name: String = "cloacina", _ body: (URL) async throws -> R
    ) async throws -> R {
        let directory = FileManager.default.temporaryDirectory.appending(path: "\(name) \(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        return try await body(directory)
    }

    private func withStore<R>(_ body: (SQLiteWorkflowStore) async throws -> R) async throws -> R {
        try await self.withDirectory { directory in
            try await body(
                try await SQLiteWorkflowStore(opening: directory.appending(path: "p.db"), configuration: Self.fast))
        }
    }

    /// What a loss of power would do to it is no concern of these tests.
    private static var fast: SQLiteConfiguration {
        var configuration = SQLiteConfiguration()
        configuration.synchronous = .normal
        return configuration
    }

    private func cause(_ error: PipelineError?) -> SQLiteError.Code? {
        #expect(error?.code == .storageFailed)
        return (error?.underlying as? SQLiteError)?.code
    }

    // MARK: Semantics

    @Test(arguments: StoreConformance.all) func conforms(to check: StoreConformance.Check) async throws {
        try await self.withStore { try await check.run($0) }
    }

    /// Ten thousand histories.
    @Test(arguments: 0..<20 as Range<UInt64>) func agreesWithTheModel(block: UInt64) async throws {
        try await self.withStore { store in
            for seed in block * 500..<(block + 1) * 500 {
                var duel = StoreDuel(seed: seed, on: [store])
                try await duel.run()
                for table in ["pipelines", "events", "runners"] {
                    try await store.database.execute("DELETE FROM cloacina_\(table)")
                }
            }
        }
    }

    /// Small faults, planted as triggers: a duel that finds nothing must be one that could.
    @Test(arguments: [
        "AFTER UPDATE OF owner ON cloacina_pipelines WHEN new.owner IS NOT NULL AND old.owner IS NULL BEGIN UPDATE cloacina_pipelines SET request = NULL WHERE id = new.id AND old.request = 'pause'; END",
        "AFTER UPDATE OF recoveries ON cloacina_pipelines BEGIN UPDATE cloacina_pipelines SET recoveries = 1 WHERE id = new.id; END",
        "AFTER UPDATE OF beats ON cloacina_runners BEGIN UPDATE cloacina_runners SET beats = 1 WHERE id = new.id; END",
        "BEFORE DELETE ON cloacina_runners BEGIN SELECT RAISE(IGNORE); END",
        "AFTER UPDATE OF ended_at ON cloacina_pipelines BEGIN UPDATE cloacina_pipelines SET ended_at = new.ended_at + 1 WHERE id = new.id AND ended_at IS new.ended_at; END",
        "AFTER INSERT ON cloacina_events WHEN new.position = 2 BEGIN UPDATE cloacina_events SET worker = NULL WHERE pipeline_id = new.pipeline_id AND position = 2; END",
        "AFTER UPDATE OF version ON cloacina_pipelines BEGIN UPDATE cloacina_pipelines SET version = old.version WHERE id = new.id; END",
        "AFTER INSERT ON cloacina_pipelines WHEN new.priority = 5 BEGIN UPDATE cloacina_pipelines SET due_at = due_at + 125000 WHERE id = new.id; END",
    ])
    func aDuelFindsSmallFaults(trigger: String) async throws {
        try await self.withStore { store in
            try await store.database.execute("CREATE TRIGGER fault \(trigger)")
            await #expect(throws: StoreDuel.Difference.self) {
                for seed in 0..<300 as Range<UInt64> {
                    var duel = StoreDuel(seed: seed, on: [store])
                    try await duel.run(operations: 60)
                    try await store.database.execute("DELETE FROM cloacina_pipelines; DELETE FROM cloacina_events")
                    try await store.database.execute(
                        "DROP TRIGGER fault; DELETE FROM cloacina_runners; CREATE TRIGGER fault \(trigger)")
                }
            }
        }
    }

    /// Two connections that write, as two processes have.
    @Test func twoStoresOnOneFileAgreeWithTheModel() async throws {
        try await self.withDirectory { directory in
            let url = directory.appending(path: "p.db")
            let stores = [
                try await SQLiteWorkflowStore(opening: url, configuration: Self.fast),
                try await SQLiteWorkflowStore(opening: url, configuration: Self.fast),
            ]
            for seed in 1_000..<1_010 as Range<UInt64> {
                var duel = StoreDuel(seed: seed, on: stores)
                try await duel.run(operations: 60)
                for table in ["pipelines", "events", "runners"] {
                    try await stores[0].database.execute("DELETE FROM cloacina_\(table)")
                }
            }
        }
    }

    @Test func twoStoresOnOneFileClaimEachPipelineOnce() async throws {
        try await self.withDirectory { directory in
            let url = directory.appending(path: "p.db")
            let first = try await SQLiteWorkflowStore(opening: url, configuration: Self.fast)
            _ = try await first.create((1...300).map { StoreConformance.new($0, owner: nil) })
            let claimed = try await withThrowingTaskGroup(of: [UUID].self) { group in
                for number in 0..<4 {
                    group.addTask {
                        let store = try await SQLiteWorkflowStore(opening: url, configuration: Self.fast)
                        var mine: [UUID] = []
                        while true {
                            let runner = StoreConformance.id(2_000 + number)
                            let claimed = try await store.claim(StoreConformance.claim(runner, limit: 5))
                            if claimed.isEmpty { return mine }
                            mine += claimed.map(\.id)
                            let changes = claimed.map {
                                var transition = PipelineTransition(expectedRevision: $0.revision)
                                transition.status = .completed
                                return PipelineChange(
                                    id: $0.id, epoch: $0.epoch, at: StoreConformance.at(200), transition: transition)
                            }
                            #expect(try await store.apply(changes).allSatisfy { $0 == .applied(nil) })
                        }
                    }
                }
                return try await group.reduce(into: []) { $0 += $1 }
            }
            #expect(claimed.count == 300 && Set(claimed).count == 300)
            #expect(try await first.list(PipelineQuery(statuses: [.completed], limit: 1_000)).count == 300)
        }
    }

    @Test func textWithNULComesBack() async throws {
        try await self.withStore { store in
            let keys = ["a\0b", "a\0c", "a"].map { ExecutionOptions(idempotencyKey: $0) }
            let news = keys.enumerated().map { StoreConformance.new($0.offset, workflow: "w\0x", options: $0.element) }
            #expect(try await store.create(news) == [.created, .created, .created])
            let event = PipelineEvent(.taskFailed, task: "t\0", attempt: 1, at: StoreConformance.at(1), detail: "\0")
            _ = try await store.apply([StoreConformance.change(0, events: [event])])
            let stored = try #require(try await store.load(StoreConformance.id(0)))
            #expect(stored.workflow == "w\0x" && stored.idempotencyKey == "a\0b" && stored.events.last == event)
            #expect(try await store.list(PipelineQuery(workflow: "w\0x")).count == 3)
            #expect(try await store.list(PipelineQuery(workflow: "w")).isEmpty)
        }
    }

    // MARK: Opening

    @Test(arguments: [
        "plain.db", "with space.db", "naïve-ü-\u{1F680}.db", "what?mode=ro&x=#1%20.db", ":memory:", "file:x.db",
    ])
    func everyFileNameIsTakenAsItIs(name: String) async throws {
        try await self.withDirectory("a b?c#d") { directory in
            let url = directory.appending(path: name)
            do {
                let store = try await SQLiteWorkflowStore(opening: url, configuration: Self.fast)
                _ = try await store.create([StoreConformance.new(1)])
            }
            #expect(FileManager.default.fileExists(atPath: directory.path(percentEncoded: false) + "/" + name))
            let again = try await SQLiteWorkflowStore(opening: url, configuration: Self.fast)
            #expect(try await again.load(StoreConformance.id(1))?.revision == 1)
        }
    }

    @Test(arguments: [
        "https://example.org/x.db", "file:///tmp/x.db?mode=ro", "file:///tmp/x.db#a", "file:///tmp/", "x.db",
    ])
    func whatIsNoFileIsRefused(text: String) async throws {
        let url = try #require(URL(string: text))
        let error = await #expect(throws: PipelineError.self) { try await SQLiteWorkflowStore(opening: url) }
        #expect(self.cause(error) == .invalidPath)
    }

    @Test func aMissingDirectoryIsTold() async throws {
        try await self.withDirectory { directory in
            let url = directory.appending(path: "no/such/p.db")
            let error = await #expect(throws: PipelineError.self) { try await SQLiteWorkflowStore(opening: url) }
            #expect(self.cause(error) == .cannotOpen)
            #expect(error?.fileID.hasSuffix("SQLiteStoreTests.swift") == true)
        }
    }

    @Test func everyConnectionHasTheSettings() async throws {
        try await self.withDirectory { directory in
            for synchronous in SQLiteConfiguration.Synchronous.allCases {
                var configuration = SQLiteConfiguration()
                configuration.synchronous = synchronous
                configuration.busyTimeout = .milliseconds(1_234)
                let url = directory.appending(path: "\(synchronous).db")
                let store = try await SQLiteWorkflowStore(opening: url, configuration: configuration)
                let level = synchronous == .full ? "2" : "1"
                let expected = ["wal", level, "1", "1234", "0"]
                for ofReader in [false, true] {
                    var found: [String] = []
                    for pragma in ["journal_mode", "synchronous", "foreign_keys", "busy_timeout", "trusted_schema"] {
                        found += try await store.database.texts("PRAGMA \(pragma)", ofReader: ofReader)
                    }
                    #expect(found == expected)
                }
            }
        }
    }

    @Test func manyOpenAFileAtOnce() async throws {
        try await self.withDirectory { directory in
            let url = directory.appending(path: "p.db")
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<12 {
                    group.addTask {
                        let store = try await SQLiteWorkflowStore(opening: url, configuration: Self.fast)
                        _ = try await store.create([StoreConformance.new(number)])
                    }
                }
                try await group.waitForAll()
            }
            let store = try await SQLiteWorkflowStore(opening: url, configuration: Self.fast)
            #expect(try await store.list(PipelineQuery()).count == 12)
            #expect(try await store.database.texts("SELECT version || title FROM cloacina_migrations") == ["1engine"])
        }
    }

    @Test func theHistoryNamesWhatTheFileHas() async throws {
        try await self.withStore { store in
            let migration = try MigrationSet.embedded(.sqlite).migrations[0]
            let rows = try await store.database.texts(
                "SELECT source || version || title || canonical_checksum || raw_checksum FROM cloacina_migrations")
            #expect(rows == ["cloacina1engine\(migration.canonicalChecksum)\(migration.rawChecksum)"])
        }
    }

    @Test(arguments: [
        (
            "INSERT INTO cloacina_migrations VALUES ('cloacina', 9999, 'future', 'x', 'x', 0, 0)",
            MigrationError.Code.unknownVersion
        ),
        ("UPDATE cloacina_migrations SET canonical_checksum = 'x'", .checksumChanged),
    ])
    func aFileOfAnotherVersionIsRefused(sql: String, code: MigrationError.Code) async throws {
        try await self.withDirectory { directory in
            let url = directory.appending(path: "p.db")
            let store = try await SQLiteWorkflowStore(opening: url, configuration: Self.fast)
            try await store.database.execute(sql)
            let error = await #expect(throws: PipelineError.self) { try await SQLiteWorkflowStore(opening: url) }
            #expect(error?.code == .storageFailed && (error?.underlying as? MigrationError)?.code == code)
        }
    }

    @Test func somebodyElsesTablesAreLeftAlone() async throws {
        try await self.withDirectory { directory in
            let url = directory.appending(path: "p.db")
            let store = try await SQLiteWorkflowStore(opening: url, configuration: Self.fast)
            try await store.database.execute("DROP TABLE cloacina_migrations; DROP TABLE cloacina_runners")
            let error = await #expect(throws: PipelineError.self) { try await SQLiteWorkflowStore(opening: url) }
            #expect((error?.underlying as? MigrationError)?.code == .failedClean)
            let tables = try await store.database.texts(
                "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
            #expect(tables == ["cloacina_events", "cloacina_pipelines"])
        }
    }

    // MARK: Faults

    @Test func aFileThatMayNotBeWrittenIsTold() async throws {
        try await self.withStore { store in
            _ = try await store.create([StoreConformance.new(1)])
            try await store.database.execute("PRAGMA query_only = ON")
            let error = await #expect(throws: PipelineError.self) {
                try await store.create([StoreConformance.new(2)])
            }
            #expect(self.cause(error) == .readOnly && (error?.underlying as? SQLiteError)?.isTransient == false)
            #expect(try await store.load(StoreConformance.id(1))?.revision == 1)
        }
    }

    @Test func aFullDiskStoresNothingHalfAndWorksAgain() async throws {
        try await self.withStore { store in
            _ = try await store.create([StoreConformance.new(1)])
            try await store.database.execute("PRAGMA max_page_count = 20")
            let news = (10..<2_000).map { StoreConformance.new($0) }
            let error = await #expect(throws: PipelineError.self) { try await store.create(news) }
            #expect(self.cause(error) == .full && (error?.underlying as? SQLiteError)?.isTransient == true)
            let events = (0..<200).map {
                PipelineEvent(
                    .taskSkipped, task: "t\($0)", at: StoreConformance.at(1), detail: String(repeating: "x", count: 900)
                )
            }
            let second = await #expect(throws: PipelineError.self) {
                try await store.apply([StoreConformance.change(1, events: events)])
            }
            #expect(self.cause(second) == .full)
            #expect(try await store.list(PipelineQuery()).count == 1)
            let untouched = try await store.load(StoreConformance.id(1))
            #expect(untouched?.revision == 1 && untouched?.events.count == 1)
            try await store.database.execute("PRAGMA max_page_count = 1000000")
            #expect(try await store.create(news).count == 1_990)
            #expect(try await store.apply([StoreConformance.change(1, events: events)]) == [.applied(nil)])
            #expect(try await store.database.texts("PRAGMA integrity_check") == ["ok"])
        }
    }

    @Test func aLockThatIsHeldTooLongIsTransient() async throws {
        try await self.withDirectory { directory in
            let url = directory.appending(path: "p.db")
            var configuration = Self.fast
            configuration.busyTimeout = .milliseconds(30)
            let store = try await SQLiteWorkflowStore(opening: url, configuration: configuration)
            let other = try await SQLiteWorkflowStore(opening: url, configuration: configuration)
            let (held, hold) = AsyncStream<Void>.makeStream()
            let end = DispatchSemaphore(value: 0)
            async let holding: Void = other.database.write { _ in
                hold.yield()
                end.wait()
            }
            for await _ in held { break }
            let error = await #expect(throws: PipelineError.self) { try await store.create([StoreConformance.new(1)]) }
            // Who only reads, or has nothing to claim, isn't held up.
            #expect(try await store.list(PipelineQuery()).isEmpty)
            #expect(try await store.claim(StoreConformance.claim()).isEmpty)
            end.signal()
            try await holding
            #expect(self.cause(error) == .busy && (error?.underlying as? SQLiteError)?.isTransient == true)
            #expect(try await store.create([StoreConformance.new(1)]) == [.created])
        }
    }

    /// What a killed process leaves: the files as they are in the middle of a transaction that fills more than its cache.
    @Test func whatWasNotCommittedIsGoneAfterACrash() async throws {
        try await self.withDirectory { directory in
            let url = directory.appending(path: "p.db")
            let copy = directory.appending(path: "copy.db")
            let store = try await SQLiteWorkflowStore(opening: url, configuration: Self.fast)
            _ = try await store.create([StoreConformance.new(1)])
            try await store.database.execute("PRAGMA cache_size = 5")
            let sizes = try await store.database.write { database in
                let wal = directory.path(percentEncoded: false) + "/p.db-wal"
                let before = try Data(contentsOf: URL(filePath: wal)).count
                for number in 2...2_000 { _ = try database.create(StoreConformance.new(number)) }
                _ = try database.apply(StoreConformance.change(1, status: .completed))
                for suffix in ["", "-wal"] {
                    try Data(contentsOf: URL(filePath: directory.path(percentEncoded: false) + "/p.db" + suffix))
                        .write(to: URL(filePath: directory.path(percentEncoded: false) + "/copy.db" + suffix))
                }
                return (before, try Data(contentsOf: URL(filePath: wal)).count)
            }
            #expect(sizes.0 < sizes.1)
            let revived = try await SQLiteWorkflowStore(opening: copy, configuration: Self.fast)
            #expect(try await revived.list(PipelineQuery()).map(\.status) == [.running])
            #expect(try await revived.load(StoreConformance.id(1))?.events.count == 1)
            #expect(try await revived.database.texts("PRAGMA integrity_check") == ["ok"])
        }
    }

    @Test func aFileDeletedUnderneathIsNoticed() async throws {
        try await self.withDirectory { directory in
            let url = directory.appending(path: "p.db")
            let store = try await SQLiteWorkflowStore(opening: url, configuration: Self.fast)
            _ = try await store.create([StoreConformance.new(1)])
            try FileManager.default.removeItem(at: url)
            let writing = await #expect(throws: PipelineError.self) {
                try await store.create([StoreConformance.new(2)])
            }
            #expect(self.cause(writing) == .moved && (writing?.underlying as? SQLiteError)?.isTransient == false)
            let reading = await #expect(throws: PipelineError.self) { try await store.load(StoreConformance.id(1)) }
            #expect(self.cause(reading) == .moved)
            let claiming = await #expect(throws: PipelineError.self) { try await store.claim(StoreConformance.claim()) }
            #expect(self.cause(claiming) == .moved)
        }
    }

    @Test func whatIsNoDatabaseIsRefused() async throws {
        try await self.withDirectory { directory in
            let url = directory.appending(path: "p.db")
            try Data("This is a text, and a long one at that. ".utf8 + [UInt8](repeating: 65, count: 9_000)).write(
                to: url)
            let error = await #expect(throws: PipelineError.self) { try await SQLiteWorkflowStore(opening: url) }
            #expect(self.cause(error) == .notADatabase)
        }
    }

    @Test func aDamagedFileIsTold() async throws {
        try await self.withDirectory { directory in
            let url = directory.appending(path: "p.db")
            let copy = directory.appending(path: "copy.db")
            let store = try await SQLiteWorkflowStore(opening: url, configuration: Self.fast)
            _ = try await store.create((1...200).map { StoreConformance.new($0) })
            try await store.database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            // All pages but the first, which says what tables there are.
            var bytes = [UInt8](try Data(contentsOf: url))
            for index in 4_096..<bytes.count { bytes[index] = 0xA5 }
            try Data(bytes).write(to: copy)
            let error = await #expect(throws: PipelineError.self) {
                let damaged = try await SQLiteWorkflowStore(opening: copy, configuration: Self.fast)
                _ = try await damaged.load(StoreConformance.id(1))
            }
            #expect(self.cause(error) == .corrupt && (error?.underlying as? SQLiteError)?.isTransient == false)
        }
    }

    @Test func aRowThatNobodyHereWroteIsNoTrap() async throws {
        try await self.withStore { store in
            _ = try await store.create([StoreConformance.new(1)])
            try await store.database.execute("UPDATE cloacina_events SET kind = 'pipeline teleported'")
            // It may be a newer version's: it is shown as it is, and nobody goes on with the pipeline.
            let stored = try #require(try await store.load(StoreConformance.id(1)))
            #expect(stored.events.map(\.kind.rawValue) == ["pipeline teleported"])
            let refused = await #expect(throws: PipelineError.self) {
                try await store.database.execute("UPDATE cloacina_pipelines SET owner = x'00'")
            }
            #expect(self.cause(refused) == .constraint)
            #expect(refused.map { "\($0)".contains("cloacina_") } == false)
        }
    }

    /// What is done all the time reaches its rows by a key or the queue's index, and sorts nothing.
    @Test(arguments: [
        SQLiteQueries.existing, SQLiteQueries.asked, SQLiteQueries.apply, SQLiteQueries.claim, SQLiteQueries.load,
        SQLiteQueries.history, SQLiteQueries.due, SQLiteQueries.level, SQLiteQueries.isDue, SQLiteQueries.nextDue,
        SQLiteQueries.filledLane, SQLiteQueries.queued, SQLiteQueries.children, SQLiteQueries.claims,
        SQLiteQueries.lost,
        SQLiteQueries.unheard, SQLiteQueries.status, SQLiteQueries.isOld, SQLiteQueries.ended, SQLiteQueries.events,
        SQLiteQueries.request, SQLiteQueries.list, SQLiteQueries.deleteEvents, SQLiteQueries.deletePipeline,
        SQLiteQueries.beatsOfRunner, SQLiteQueries.leave, SQLiteQueries.recover, SQLiteQueries.standing,
        SQLiteQueries.laneOfFormat, SQLiteQueries.formatAfter, SQLiteQueries.inLaneAfter,
    ])
    func noPlanScansATable(sql: String) async throws {
        try await self.withStore { store in
            let steps = try await store.database.plan(of: sql)
            #expect(!steps.isEmpty)
            // All of this index is asked for.
            for step in steps where step != "SCAN cloacina_pipelines USING INDEX cloacina_pipelines_request" {
                #expect(!step.hasPrefix("SCAN cloacina_") && !step.contains("TEMP B-TREE"), "\(steps)")
            }
        }
    }

    /// However many wait that the runner can't take: one lane after the other, of each one priority after the other, and of each
    /// no more than is asked for.
    @Test(arguments: [
        (SQLiteQueries.filledLane, "(format=? AND <expr>>?)"),
        (SQLiteQueries.level, "(format=? AND <expr>=? AND priority<?)"),
        (SQLiteQueries.due, "(format=? AND <expr>=? AND priority=? AND due_at<?)"),
        (SQLiteQueries.isDue, "(format=? AND <expr>=? AND priority=? AND due_at<?)"),
        (SQLiteQueries.nextDue, "(format=? AND <expr>=? AND priority=? AND due_at>?)"),
        (SQLiteQueries.laneOfFormat, "(format=? AND <expr>>?)"), (SQLiteQueries.formatAfter, "(format>?)"),
        (SQLiteQueries.inLaneAfter, "(format=? AND <expr>=? AND (priority,due_at,id)>(?,?,?))"),
    ])
    func theQueueIsReadByLaneAndPriority(sql: String, terms: String) async throws {
        try await self.withStore { store in
            let steps = try await store.database.plan(of: sql)
            #expect(steps.count == 1)
            #expect(
                steps.allSatisfy { step in
                    step.hasPrefix("SEARCH cloacina_pipelines USING ")
                        && step.hasSuffix("INDEX cloacina_pipelines_due \(terms)")
                }, "\(steps)")
        }
    }

    /// The owners of what runs come from an index of what runs; nothing that has ended is read.
    @Test func theOwnersOfWhatRunsAreFoundHoweverMuchHasEnded() async throws {
        try await self.withStore { store in
            let steps = try await store.database.plan(of: SQLiteQueries.beatsOfEveryOwner)
            let pipelines = steps.filter { $0.contains("cloacina_pipelines") }
            #expect(pipelines.count == 1)
            #expect(pipelines.allSatisfy { $0.contains("INDEX cloacina_pipelines_owner (owner>?)") }, "\(steps)")
        }
    }

    /// A check of words with IN, for one, fills a table of its own for each row; that takes as long as storing it.
    @Test(arguments: [SQLiteQueries.create, SQLiteQueries.claim, SQLiteQueries.apply, SQLiteQueries.happened])
    func noHotStatementMakesATableOfItsOwn(sql: String) async throws {
        try await self.withStore { store in
            let steps = try await store.database.program(of: sql)
            #expect(steps.contains { $0.hasSuffix("Insert") })
            #expect(!steps.contains { ["OpenEphemeral", "OpenAutoindex", "SorterOpen"].contains($0) }, "\(steps)")
        }
    }

    // MARK: Running

    @Test func aRunnerOverAFile() async throws {
        try await self.withDirectory { directory in
            let url = directory.appending(path: "p.db")
            let workflow = try Workflow("chain") {
                WorkflowTask("a") { context in try context.set("a", to: 1) }
                WorkflowTask("b", after: "a") { context in try context.set("b", to: "ü\u{0}") }
            }
            let runner = try await DefaultRunner(sqliteAt: url, sqlite: Self.fast, workflows: [workflow])
            try await withThrowingTaskGroup(of: PipelineResult.self) { group in
                for _ in 0..<50 { group.addTask { try await runner.execute("chain") } }
                for try await result in group {
                    #expect(result.status == .completed)
                    #expect(result.finalContext.values == ["a": 1, "b": "ü\u{0}"])
                }
            }
            let second = try await DefaultRunner(sqliteAt: url, sqlite: Self.fast, workflows: [workflow])
            #expect(try await second.list(PipelineQuery(statuses: [.completed], limit: 100)).count == 50)
        }
    }

    /// The disk has room again before the runner's patience ends.
    @Test func aFullDiskOnlyDelaysARun() async throws {
        try await self.withStore { store in
            let (filled, fill) = AsyncStream<Void>.makeStream()
            let workflow = try Workflow("w") {
                WorkflowTask("fills") { context, _ in
                    try context.set("much", to: String(repeating: "x", count: 400_000))
                    try await store.database.execute("PRAGMA max_page_count = 20")
                    fill.yield()
                }
                WorkflowTask("next", after: "fills") { _ in }
            }
            let runner = try DefaultRunner(store: store, workflows: [workflow])
            async let result = runner.execute("w")
            for await _ in filled { break }
            let error = await #expect(throws: PipelineError.self) {
                try await store.create((1...2_000).map { StoreConformance.new($0) })
            }
            #expect(error?.isTransient == true)
            try await store.database.execute("PRAGMA max_page_count = 1000000")
            #expect(try await result.status == .completed)
        }
    }
}

extension SQLiteDatabase {
    /// The instructions that a statement is made of.
    func program(of sql: String) async throws -> [String] {
        try await self.write { database in
            try database.rows("EXPLAIN " + sql) { row in
                _ = try row.value(Int.self)
                return try row.value(String.self)
            }
        }
    }

    /// The steps of a statement's plan.
    func plan(of sql: String) async throws -> [String] {
        try await self.write { database in
            try database.rows("EXPLAIN QUERY PLAN " + sql) { row in
                for _ in 0..<3 { _ = try row.value(Int.self) }
                return try row.value(String.self)
            }
        }
    }
}
