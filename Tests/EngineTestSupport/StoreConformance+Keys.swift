import Cloacina
import FoundationEssentials
import Testing

/// What every store promises about whose an idempotency key is.
extension StoreConformance {
    package static let keys: [Check] = [
        Check(name: "a key of another workflow is refused", run: Self.keyOfAnotherWorkflow),
        Check(name: "a key with another input is refused", run: Self.keyWithAnotherInput),
        Check(name: "equal inputs are the same however they are written", run: Self.equalInputs),
        Check(name: "a key is taken from a failed or cancelled pipeline, on request only", run: Self.takenKeys),
        Check(name: "a key that was taken belongs to its new pipeline alone", run: Self.afterTaking),
        Check(name: "of many that take a key at once one has it", run: Self.concurrentTaking),
        Check(name: "a batch is answered as one after the other", run: Self.keysInOneBatch),
        Check(name: "a child's key is no caller's", run: Self.keysOfChildren),
        Check(name: "keys that only look the same are two", run: Self.spellingsOfKeys),
        Check(name: "a pipeline that was stored before takes no key", run: Self.storedBefore),
    ]

    private static func keyed(
        _ number: Int, _ workflow: String = "w", key: String = "k", reuse: KeyReusePolicy = .never,
        input: Context = Context(), parent: UUID? = nil
    ) -> NewPipeline {
        Self.new(
            number, workflow: workflow, options: ExecutionOptions(idempotencyKey: key, keyReuse: reuse), input: input,
            parent: parent)
    }

    private static func holder(_ number: Int, _ workflow: String = "w", parent: UUID? = nil) -> KeyHolder {
        KeyHolder(id: Self.id(number), workflow: workflow, parent: parent)
    }

    private static func key(of number: Int, in store: any WorkflowStore) async throws -> String? {
        try #require(try await store.load(Self.id(number))).idempotencyKey
    }

    static func keyOfAnotherWorkflow(_ store: any WorkflowStore) async throws {
        #expect(try await store.create([Self.keyed(1)]) == [.created])
        for reuse in KeyReusePolicy.allCases {
            #expect(try await store.create([Self.keyed(2, "x", reuse: reuse)]) == [.conflicts(Self.holder(1))])
        }
        // Not when it has failed either.
        _ = try await store.apply([Self.change(1, status: .failed)])
        for reuse in KeyReusePolicy.allCases {
            #expect(try await store.create([Self.keyed(2, "x", reuse: reuse)]) == [.conflicts(Self.holder(1))])
        }
        #expect(try await store.list(PipelineQuery()).map(\.id) == [Self.id(1)])
        #expect(try await Self.key(of: 1, in: store) == "k")
    }

    static func keyWithAnotherInput(_ store: any WorkflowStore) async throws {
        let input = try Context(["a": 1, "b": .array([.null, "x"])])
        _ = try await store.create([Self.keyed(1, input: input)])
        let others = [
            Context(), try Context(["a": 1]), try Context(["a": 1.0, "b": .array([.null, "x"])]),
            try Context(["a": 1, "b": .array(["x", .null])]), try Context(["a": "1", "b": .array([.null, "x"])]),
        ]
        for (number, other) in zip(2..., others) {
            for reuse in KeyReusePolicy.allCases {
                let answer = try await store.create([Self.keyed(number, reuse: reuse, input: other)])
                #expect(answer == [.conflicts(Self.holder(1))], "\(other.jsonText)")
            }
        }
        // What else a call says doesn't count.
        let options = ExecutionOptions(idempotencyKey: "k", priority: 9, delay: .seconds(60), timeout: .seconds(1))
        #expect(
            try await store.create([Self.new(20, owner: nil, options: options, input: input)]) == [.exists(Self.id(1))])
    }

    static func equalInputs(_ store: any WorkflowStore) async throws {
        let stored = try Context(["caf\u{E9}": "\u{E9}\u{1F680}", "zero": .double(0), "n": 1e300])
        let same = try Context(["zero": .double(-0.0), "n": 1e300, "cafe\u{301}": "e\u{301}\u{1F680}"])
        #expect(stored == same && stored.jsonText != same.jsonText)
        #expect(try await store.create([Self.keyed(1, input: stored)]) == [.created])
        #expect(try await store.create([Self.keyed(2, input: same)]) == [.exists(Self.id(1))])
        // As large as a context may be by default, and only its last character is another one.
        let long = String(repeating: "ü", count: 400_000)
        _ = try await store.create([Self.keyed(3, key: "long", input: try Context(["text": .string(long + "é")]))])
        let answers = try await store.create([
            Self.keyed(4, key: "long", input: try Context(["text": .string(long + "e\u{301}")])),
            Self.keyed(5, key: "long", input: try Context(["text": .string(long + "e")])),
        ])
        #expect(answers == [.exists(Self.id(3)), .conflicts(Self.holder(3))])
    }

    static func takenKeys(_ store: any WorkflowStore) async throws {
        let other = try Context(["a": 2])
        let ends: [PipelineStatus] = [.failed, .cancelled, .completed, .queued, .paused, .running]
        for (index, status) in ends.enumerated() {
            let (first, key) = (index * 10, "k\(index)")
            _ = try await store.create([Self.keyed(first, key: key)])
            let due = status == .queued ? Self.at(5) : nil
            _ = try await store.apply([Self.change(first, status: status, dueAt: due)])
            #expect(try await store.create([Self.keyed(first + 1, key: key)]) == [.exists(Self.id(first))])
            #expect(
                try await store.create([Self.keyed(first + 1, key: key, input: other)])
                    == [.conflicts(Self.holder(first))])
            let answer = try await store.create([Self.keyed(first + 1, key: key, reuse: .afterFailure, input: other)])
            let isTaken = [.failed, .cancelled].contains(status)
            #expect(answer == [isTaken ? .created : .conflicts(Self.holder(first))], "\(status)")
            let same = try await store.create([Self.keyed(first + 2, key: key, reuse: .afterFailure, input: other)])
            #expect(same == [isTaken ? .exists(Self.id(first + 1)) : .conflicts(Self.holder(first))], "\(status)")
            #expect(try await Self.key(of: first, in: store) == (isTaken ? nil : key))
            let old = try #require(try await store.load(Self.id(first)))
            #expect(old.status == status && old.revision == 2 && old.events.count == 1)
            if isTaken { #expect(try await store.load(Self.id(first + 1))?.input == other) }
        }
    }

    static func afterTaking(_ store: any WorkflowStore) async throws {
        _ = try await store.create([Self.keyed(1), Self.keyed(9, key: "other")])
        _ = try await store.apply([Self.change(1, status: .failed), Self.change(9, status: .failed)])
        // Nobody's key, so nothing is taken.
        #expect(try await store.create([Self.keyed(2, key: "new", reuse: .afterFailure)]) == [.created])
        #expect(try await store.create([Self.keyed(3, reuse: .afterFailure)]) == [.created])
        #expect(try await Self.key(of: 9, in: store) == "other")
        // Deleting the one that failed frees no key.
        #expect(try await store.prune(endedBefore: Self.at(9), below: Self.id(2), limit: 10) == 1)
        #expect(try await store.create([Self.keyed(4, reuse: .afterFailure)]) == [.exists(Self.id(3))])
        _ = try await store.apply([Self.change(3, status: .cancelled)])
        #expect(try await store.create([Self.keyed(5, reuse: .afterFailure)]) == [.created])
        #expect(try await store.create([Self.keyed(6)]) == [.exists(Self.id(5))])
    }

    static func concurrentTaking(_ store: any WorkflowStore) async throws {
        let keys = (0..<5).map { "k\($0)" }
        _ = try await store.create(keys.indices.map { Self.keyed($0, key: keys[$0]) })
        _ = try await store.apply(keys.indices.map { Self.change($0, status: $0 % 2 == 0 ? .failed : .cancelled) })
        let answers = try await withThrowingTaskGroup(of: [Creation].self) { group in
            for batch in 1...8 {
                group.addTask {
                    try await store.create(
                        keys.indices.map { Self.keyed(batch * 10 + $0, key: keys[$0], reuse: .afterFailure) })
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        let listed = Set(try await store.list(PipelineQuery()).map(\.id))
        #expect(listed.count == 10)
        for index in keys.indices {
            #expect(answers.count { $0[index] == .created } == 1)
            for case .exists(let id) in answers.map({ $0[index] }) {
                #expect(try await store.load(id)?.idempotencyKey == keys[index])
            }
            #expect(try await Self.key(of: index, in: store) == nil)
        }
    }

    static func keysInOneBatch(_ store: any WorkflowStore) async throws {
        let other = try Context(["a": 2])
        let fresh = try await store.create([
            Self.keyed(1), Self.keyed(2, "x"), Self.keyed(3), Self.keyed(4, input: other), Self.new(5),
            Self.keyed(6, "x", key: "l"),
        ])
        let first = Creation.conflicts(Self.holder(1))
        #expect(fresh == [.created, first, .exists(Self.id(1)), first, .created, .created])
        _ = try await store.apply([Self.change(1, status: .failed), Self.change(6, status: .failed)])
        let mixed = try await store.create([
            Self.keyed(11), Self.keyed(12, "x", reuse: .afterFailure),
            Self.keyed(13, reuse: .afterFailure, input: other),
            Self.keyed(14), Self.keyed(15, input: other), Self.new(16),
            Self.keyed(17, reuse: .afterFailure, input: other),
            Self.keyed(18, "x", key: "l", reuse: .afterFailure),
        ])
        #expect(
            mixed == [
                .exists(Self.id(1)), first, .created, .conflicts(Self.holder(13)), .exists(Self.id(13)), .created,
                .exists(Self.id(13)), .created,
            ])
    }

    static func keysOfChildren(_ store: any WorkflowStore) async throws {
        let (parent, other) = (Self.id(1), try Context(["a": 2]))
        _ = try await store.create([Self.new(1), Self.keyed(2, "c", parent: parent), Self.keyed(3, "c", key: "mine")])
        let child = Creation.conflicts(Self.holder(2, "c", parent: parent))
        for status in [PipelineStatus.running, .failed] {
            let revision = status == .running ? 1 : 2
            _ = try await store.apply([
                Self.change(2, revision: revision, status: status), Self.change(3, revision: revision, status: status),
            ])
            for reuse in KeyReusePolicy.allCases {
                let answers = try await store.create([
                    // A task that is tried again is given its child, whatever it would hand over now.
                    Self.keyed(4, "c", reuse: reuse, parent: parent),
                    Self.keyed(5, "c", reuse: reuse, input: other, parent: parent),
                    Self.keyed(6, "d", reuse: reuse, parent: parent),
                    Self.keyed(7, "c", reuse: reuse, parent: Self.id(99)),
                    Self.keyed(8, "c", reuse: reuse), Self.keyed(9, "c", key: "mine", reuse: reuse, parent: parent),
                ])
                let mine = Creation.conflicts(Self.holder(3, "c"))
                #expect(answers == [.exists(Self.id(2)), .exists(Self.id(2)), child, child, child, mine])
            }
        }
    }

    static func spellingsOfKeys(_ store: any WorkflowStore) async throws {
        let (composed, decomposed) = ("caf\u{E9}", "cafe\u{301}")
        #expect(composed == decomposed)
        let both = [Self.keyed(1, key: composed), Self.keyed(2, "x", key: decomposed)]
        #expect(try await store.create(both) == [.created, .created])
        let again = try await store.create([
            Self.keyed(3, "x", key: decomposed), Self.keyed(4, key: composed), Self.keyed(5, key: decomposed),
        ])
        #expect(again == [.exists(Self.id(2)), .exists(Self.id(1)), .conflicts(Self.holder(2, "x"))])
        _ = try await store.apply([Self.change(1, status: .failed), Self.change(2, status: .failed)])
        let taking = try await store.create([
            Self.keyed(6, "x", key: decomposed), Self.keyed(7, key: composed, reuse: .afterFailure),
        ])
        #expect(taking == [.exists(Self.id(2)), .created])
        #expect(try await Self.key(of: 2, in: store)?.utf8.elementsEqual(decomposed.utf8) == true)
        #expect(try await store.prune(endedBefore: Self.at(9), below: Self.id(3), limit: 10) == 2)
        let last = try await store.create([Self.keyed(8, key: composed), Self.keyed(9, "x", key: decomposed)])
        #expect(last == [.exists(Self.id(7)), .created])
    }

    /// Whose creation was stored although its answer was lost tries again, whatever has happened since.
    static func storedBefore(_ store: any WorkflowStore) async throws {
        for reuse in KeyReusePolicy.allCases {
            let (first, key) = (reuse == .never ? 0 : 10, "\(reuse)")
            let lost = Self.keyed(first + 1, key: key, reuse: reuse)
            #expect(try await store.create([lost]) == [.created])
            _ = try await store.apply([Self.change(first + 1, status: .failed)])
            #expect(try await store.create([lost]) == [.exists(lost.id)])
            #expect(try await Self.key(of: first + 1, in: store) == key)
            #expect(try await store.create([Self.keyed(first + 2, key: key, reuse: .afterFailure)]) == [.created])
            _ = try await store.apply([Self.change(first + 2, status: .failed)])
            #expect(try await store.create([lost]) == [.exists(lost.id)])
            #expect(try await Self.key(of: first + 2, in: store) == key)
        }
    }
}
