package import Cloacina
package import CloacinaWorkflow
package import FoundationEssentials

/// Histories made by chance, lived by real runners over a real store: workflows with rules of every kind, retries, own commits
/// and children, in two versions; pauses, cancels, shutdowns, processes that die and others that go on.
///
/// Each history must end, and what anybody was told of it must be what is stored and what a replay says; see ``HistoryAudit``.
///
/// The seed fixes the workflows, what their tasks do, and the plan of what happens to them. It does not fix when threads and
/// databases do what they do: the same seed may go right the next time. So a failure tells all that happened.
package struct StoreProperty: Sendable {
    /// Where histories are lived.
    package struct Stores: Sendable {
        /// The store of the n-th process of a history.
        package var store: @Sendable (_ process: Int) -> any WorkflowStore
        /// What is stored, as somebody sees it who had no part in it.
        package var reader: any WorkflowStore
        /// Makes a runner without workflows.
        package var makeRunner: MakeRunner = { store, configuration, clock in
            try DefaultRunner(store: store, configuration: configuration, clock: clock)
        }
        /// Makes a task that commits its completion with a row of its own, where the store's database can do that; see `effects`.
        package var transactional: (@Sendable (RandomTask, @escaping WorkflowTask.Body) -> WorkflowTask)?
        /// The rows of such tasks of a pipeline.
        package var effects: @Sendable (_ pipeline: UUID) async throws -> [Effect] = { _ in [] }

        package typealias MakeRunner =
            @Sendable (any WorkflowStore, RunnerConfiguration, any EngineClock) throws -> DefaultRunner

        package init(reader: any WorkflowStore, store: @escaping @Sendable (_ process: Int) -> any WorkflowStore) {
            self.reader = reader
            self.store = store
        }
    }

    /// The row that a task has committed with its completion.
    package struct Effect: Sendable, Hashable {
        let task: String
        let attempt: Int

        package init(task: String, attempt: Int) {
            self.task = task
            self.attempt = attempt
        }
    }

    /// What was not as it must be, and all that is known of it.
    package struct Violation: Error, CustomStringConvertible {
        package let seed: UInt64
        package let what: [String]
        package let story: String

        package var description: String {
            """
            the history of seed \(self.seed) went wrong; CLOACINA_TEST_SEED=\(self.seed) CLOACINA_TEST_STORE_HISTORIES=1 lives it \
            alone
            \(self.what.map { "* \($0)" }.joined(separator: "\n"))

            \(self.story)
            """
        }
    }

    /// How often things happened, over many histories: a property of nothing holds too.
    package struct Tally: Sendable, Hashable, CustomStringConvertible {
        package enum Kind: String, Sendable, CaseIterable {
            case histories, pipelines, completed, failed, cancelled, children, retries, pauses, releases, deaths,
                recoveries
            case ownCommits, newVersions
        }

        private var counts: [Kind: Int] = [:]

        package subscript(kind: Kind) -> Int {
            get { self.counts[kind, default: 0] }
            set { self.counts[kind] = newValue }
        }

        mutating func add(_ other: Tally) { for kind in Kind.allCases { self[kind] += other[kind] } }

        package var description: String { Kind.allCases.map { "\(self[$0]) \($0)" }.joined(separator: ", ") }
    }

    private let stores: Stores

    package init(on stores: Stores) { self.stores = stores }

    /// Lives one history.
    ///
    /// - Parameter limit: How long it may take until it is taken for one that hangs.
    /// - Returns: What happened in it.
    /// - Throws: ``Violation``.
    package func live(seed: UInt64, within limit: Duration = .seconds(120)) async throws -> Tally {
        let plan = try HistoryPlan(seed: seed)
        let (world, roster) = (HistoryWorld(), HistoryRoster())
        let life = HistoryLife(plan, in: world, roster: roster, on: self.stores)
        var problems: [String] = []
        do {
            let hasEnded = try await Self.end(within: limit, in: world) {
                var life = life
                try await life.live()
            }
            if !hasEnded { problems.append("it hangs: no end after \(limit)") }
        } catch {
            problems.append("\(error)")
        }
        let audit = try HistoryAudit(plan, of: world, roster: roster, on: self.stores)
        if problems.isEmpty {
            do { problems = try await audit.problems() } catch { problems.append("it can't be read: \(error)") }
        }
        problems = (world.problems + problems).map { audit.named($0) }
        var tally = world.tally
        tally[.histories] = 1
        guard !problems.isEmpty else { return tally }
        throw Violation(seed: seed, what: problems, story: await audit.story())
    }

    /// Waits for the end of something, and not longer than a while. Neither it nor the clock is a child: what hangs must not hold up
    /// whoever says so.
    private static func end(
        within limit: Duration, in world: HistoryWorld, of body: @escaping @Sendable () async throws -> Void
    ) async throws -> Bool {
        let (ends, sink) = AsyncStream.makeStream(of: Result<Bool, any Error>.self)
        let work = Task {
            do {
                try await body()
                sink.yield(.success(true))
            } catch {
                sink.yield(.failure(error))
            }
        }
        let guardian = Task {
            let deadline = ContinuousClock.now.advanced(by: limit)
            while ContinuousClock.now < deadline {
                // A runner's group looks at its queue now and then although nobody has called; so does a history.
                do { try await Task.sleep(for: .milliseconds(500)) } catch { return }
                world.sweep()
            }
            sink.yield(.success(false))
        }
        defer {
            guardian.cancel()
            work.cancel()
        }
        for await end in ends {
            if case .success(false) = end { world.abandon() }
            return try end.get()
        }
        return false
    }
}

// MARK: Many

extension StoreProperty {
    /// A part of the histories that are wanted, small enough for a test's time.
    package struct Share: Sendable, CustomStringConvertible {
        /// The first history's seed.
        package let seed: UInt64
        package let histories: Int
        package var description: String { "\(self.histories) histories from seed \(self.seed)" }
    }

    /// The histories that are wanted: `CLOACINA_TEST_STORE_HISTORIES` of them, the first one with the seed
    /// `CLOACINA_TEST_SEED`, or what chance says.
    package static func shares(otherwise histories: Int) -> [Share] {
        let wanted = Int(Self.environment["CLOACINA_TEST_STORE_HISTORIES"] ?? "") ?? histories
        return stride(from: 0, to: max(1, wanted), by: Self.largestShare).map { first in
            Share(seed: Self.seed &+ UInt64(first), histories: min(Self.largestShare, max(1, wanted) - first))
        }
    }

    private static let largestShare = 2_500
    private static let environment = ProcessInfo.processInfo.environment
    private static let seed = UInt64(Self.environment["CLOACINA_TEST_SEED"] ?? "") ?? .random(in: 0...(.max >> 1))

    /// Lives the histories of a share, and prints how it went.
    ///
    /// - Parameters:
    ///   - count: How many at a time; fewer where there are few in all, for other tests need the threads too.
    ///   - stores: Where to live the history of a seed.
    /// - Returns: What happened, and what went wrong; no more is lived after three histories that did.
    package static func live(
        _ share: Share, on name: String, concurrently count: Int = 12,
        stores: @escaping @Sendable (_ seed: UInt64) -> Stores
    ) async -> (tally: Tally, violations: [any Error]) {
        print("store property on \(name): \(share)")
        let start = ContinuousClock.now
        var (tally, violations) = (Tally(), [any Error]())
        let lanes = share.histories > 500 ? count : min(count, 4)
        await withTaskGroup(of: Result<Tally, any Error>.self) { group in
            for history in 0..<share.histories {
                if history >= lanes, let result = await group.next() { Self.note(result, &tally, &violations) }
                guard violations.count < 3 else { break }
                let seed = share.seed &+ UInt64(history)
                group.addTask {
                    do {
                        return .success(try await Self(on: stores(seed)).live(seed: seed))
                    } catch {
                        return .failure(error)
                    }
                }
            }
            for await result in group { Self.note(result, &tally, &violations) }
        }
        print("store property on \(name): \(tally) in \(start.duration(to: .now))")
        return (tally, violations)
    }

    private static func note(
        _ result: Result<Tally, any Error>, _ tally: inout Tally, _ violations: inout [any Error]
    ) {
        switch result {
        case .success(let found): tally.add(found)
        case .failure(let error): violations.append(error)
        }
    }
}
