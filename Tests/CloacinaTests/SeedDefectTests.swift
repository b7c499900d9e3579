import FoundationEssentials
import Testing

/// What `SeedDefects.md` names is there: each of the original's defects once, with tests that exist.
@Suite struct SeedDefectTests {
    private static let labels = [
        "B1", "B2", "B3",
        "C1", "C2", "C3", "C4", "C5",
        "D1", "D2", "D3", "D4",
        "E1", "E2", "E3",
        "F1", "F2", "F3", "F4", "F5", "F6",
        "G1", "G2",
        "H1", "H2", "H3", "H4",
        "I1", "I2", "I3",
        "L1", "L2",
    ]
    /// What an engine has to do: the rows of the second table, and how many behaviours each has.
    private static let behaviours = [
        "Pool": 7, "Scheduler": 12, "Multi-instance": 10, "Retry": 5, "Observability": 4, "Performance": 1,
    ]

    @Test func eachDefectHasItsRow() throws {
        let found = try Self.rows(of: "## Defects").map(\.name)
        for label in Self.labels where !found.contains(label) { Issue.record("\(label) has no row") }
        for label in Set(found).subtracting(Self.labels) { Issue.record("\(label) is no label of a defect") }
        for label in Set(found) where found.count(where: { $0 == label }) > 1 {
            Issue.record("\(label) has more than one row")
        }
        #expect(found == found.sorted(), "the rows are in the order of their labels")
    }

    @Test func eachBehaviourHasItsRow() throws {
        let rows = try Self.rows(of: "## What an engine has to do")
        let found = Dictionary(grouping: rows, by: \.name).mapValues(\.count)
        #expect(found == Self.behaviours)
        #expect(Set(rows.map(\.text)).count == rows.count, "a behaviour has two rows")
    }

    @Test func eachRowNamesTestsThatExist() throws {
        let tests = try TestIndex()
        for row in try Self.rows(of: "## Defects") + Self.rows(of: "## What an engine has to do") {
            let place = "\(row.name), \(row.text)"
            if row.text.isEmpty { Issue.record("\(place): nothing says what it is") }
            let names = row.names
            if !names.contains(where: { $0.function != nil }), !row.tests.contains("no counterpart") {
                Issue.record("\(place): no test is named, nor said to have \"no counterpart\"")
            }
            for name in names {
                if let problem = tests.problem(with: name) { Issue.record("\(place): \(problem)") }
            }
            for check in row.checks where !tests.checks.contains(check) {
                Issue.record("\(place): no check of the stores is called \"\(check)\"")
            }
        }
    }

    /// Our own faults, by the labels of those who found them: two reviews, and strangers' inputs.
    private static let ownLabels =
        (1...22).map { "A\($0)" } + (1...9).map { "B\($0)" } + ["C1", "C6"] + (21...35).map { "C\($0)" }
        + ["C39", "M2", "M5", "M7"]

    /// Our own faults, each once, with tests that exist.
    @Test func eachFaultOfOursNamesTestsThatExist() throws {
        let tests = try TestIndex()
        let rows = try Self.rows(of: "## Mended", in: "EngineFaults.md")
        #expect(rows.map(\.name) == Self.ownLabels)
        let later = try Self.rows(of: "## Mended after a second reading", in: "EngineFaults.md")
        #expect(later.map(\.name) == later.indices.map { "S\($0 + 1)" } && later.count >= 15)
        for row in rows + later {
            if row.text.isEmpty { Issue.record("\(row.name): nothing says what it was") }
            if row.names.isEmpty { Issue.record("\(row.name): no test is named") }
            for name in row.names {
                if let problem = tests.problem(with: name) { Issue.record("\(row.name): \(problem)") }
            }
            for check in row.checks where !tests.checks.contains(check) {
                Issue.record("\(row.name): no check of the stores is called \"\(check)\"")
            }
        }
    }

    /// Faults of the tenants' administration, by the labels of those who found them.
    private static let administrationLabels =
        ["C2", "C3", "C4", "C5", "C7", "C8"] + (1...8).map { "L\($0)" } + ["M1", "M3", "M4", "M6"]
        + (1...20).map { ($0 < 10 ? "C0" : "C") + "\($0)" } + ["C36", "C37", "C38", "C40"] + (1...6).map { "X\($0)" }

    @Test func eachFaultOfTheAdministrationNamesTestsThatExist() throws {
        let tests = try TestIndex()
        let rows = try Self.rows(of: "## Mended", in: "TenancyFaults.md")
        #expect(rows.map(\.name) == Self.administrationLabels)
        let later = try Self.rows(of: "## Mended after an attack with fresh eyes", in: "TenancyFaults.md")
        #expect(later.map(\.name) == later.indices.map { "T\($0 + 1)" } && later.count >= 12)
        for row in rows + later {
            if row.text.isEmpty { Issue.record("\(row.name): nothing says what it was") }
            if row.names.isEmpty { Issue.record("\(row.name): no test is named") }
            for name in row.names {
                if let problem = tests.problem(with: name) { Issue.record("\(row.name): \(problem)") }
            }
        }
    }

    /// The attack log of the security review: each of its lines once, in order, with tests that exist.
    @Test func eachLineOfTheAttackLogNamesTestsThatExist() throws {
        let tests = try TestIndex()
        let rows = try Self.rows(of: "## Attacks", in: "AttackLog.md")
        #expect(rows.map(\.name) == (1...44).map { "\($0)" })
        for row in rows {
            if row.text.isEmpty { Issue.record("line \(row.name): nothing says what was tried") }
            if row.names.isEmpty { Issue.record("line \(row.name): no test is named") }
            for name in row.names {
                if let problem = tests.problem(with: name) { Issue.record("line \(row.name): \(problem)") }
            }
        }
    }

    /// What is looked for is found only where it is: a page that names nothing real must not pass.
    @Test func whatIsNotThereIsMissed() throws {
        let tests = try TestIndex()
        let own = "SeedDefectTests.swift"
        #expect(tests.problem(with: .init(file: own, function: "whatIsNotThereIsMissed")) == nil)
        for (file, function) in [
            ("NowhereTests.swift", "a"), (own, "nothing"), (own, "rows"), (own, "whatIsNotThere"), (own, nil),
            ("Tally.swift", "add"),
        ] {
            #expect(tests.problem(with: .init(file: file, function: function)) != nil, "\(file) \(function ?? "")")
        }
        for (text, problem) in [
            ("    @Test func a() {}", true), ("    @Test(arguments: [1, 2])\n    func a(b: Int) {}", true),
            ("    // @Test func a() {}", false), ("    @Test func b() {}\n    func a() {}", false),
            ("    @Test(.disabled(\"why\")) func a() {}", false), ("    @Test func ab() {}", false),
        ] {
            #expect(TestIndex.holds(test: "a", in: text) == problem, "\(text)")
        }
    }

    // MARK: Reading

    private struct Row {
        let name: String
        let text: String
        let tests: String

        /// The names of tests, each with the file named last.
        var names: [TestIndex.Name] {
            var names: [TestIndex.Name] = []
            var file: String?
            for word in self.quoted(by: "`") {
                if word.hasSuffix(".swift") {
                    if names.last?.function == nil, let file { names.append(.init(file: file, function: nil)) }
                    file = word
                } else if let file, !word.contains(where: { !$0.isLetter && !$0.isNumber }) {
                    names.append(.init(file: file, function: word))
                }
            }
            if let file, !names.contains(where: { $0.file == file }) { names.append(.init(file: file, function: nil)) }
            return names
        }

        var checks: [String] { self.quoted(by: "\"") }

        private func quoted(by mark: Character) -> [String] {
            let parts = self.tests.split(separator: mark, omittingEmptySubsequences: false)
            return parts.enumerated().filter { $0.offset % 2 == 1 }.map { String($0.element) }
        }
    }

    /// The rows of the table below a heading.
    private static func rows(of heading: String, in file: String = "SeedDefects.md") throws -> [Row] {
        let page = try TestIndex.text(of: TestIndex.directory.appending(path: file))
        let lines = page.split(separator: "\n", omittingEmptySubsequences: false)
        let begin = try #require(lines.firstIndex { $0 == heading }, "the page has no heading \"\(heading)\"")
        let table = lines[(begin + 1)...].drop { !$0.hasPrefix("|") }.prefix { $0.hasPrefix("|") }
        return try table.dropFirst(2).map { line in
            let cells = line.split(separator: "|").map { Self.trimmed($0) }
            try #require(cells.count == 3, "not three columns: \(line)")
            return Row(name: cells[0], text: cells[1], tests: cells[2])
        }
    }

    private static func trimmed(_ text: Substring) -> String {
        let rest = text.drop { $0 == " " }
        return String(rest.reversed().drop { $0 == " " }.reversed())
    }
}

/// The tests of this package, as their files have them.
private struct TestIndex {
    struct Name {
        let file: String
        let function: String?
    }

    static let directory = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()

    /// The names of the stores' checks.
    let checks: Set<String>
    /// Files of one name may be in several folders.
    private let files: [String: [String]]

    init() throws {
        let paths = try FileManager.default.subpathsOfDirectory(atPath: Self.directory.path)
        var files: [String: [String]] = [:]
        var checks: Set<String> = []
        for path in paths where path.hasSuffix(".swift") {
            let url = Self.directory.appending(path: path)
            let text = try Self.text(of: url)
            files[url.lastPathComponent, default: []].append(text)
            guard path.hasPrefix("EngineTestSupport/") else { continue }
            let names = text.split(separator: "Check(name: \"").dropFirst().map { String($0.prefix { $0 != "\"" }) }
            checks.formUnion(names)
        }
        self.files = files
        self.checks = checks
    }

    static func text(of url: URL) throws -> String { String(decoding: try Data(contentsOf: url), as: UTF8.self) }

    func problem(with name: Name) -> String? {
        guard let texts = self.files[name.file] else { return "there is no file \(name.file) among the tests" }
        guard let function = name.function else { return "\(name.file) is named without a test" }
        guard !texts.contains(where: { Self.holds(test: function, in: $0) }) else { return nil }
        return "\(name.file) has no test \"\(function)\" that runs"
    }

    /// Whether a file has a function of that name which is marked as a test, and not disabled.
    static func holds(test name: String, in text: String) -> Bool {
        let code = text.split(separator: "\n").filter { !$0.drop { $0 == " " }.hasPrefix("//") }.joined(separator: "\n")
        return code.split(separator: "func \(name)(", omittingEmptySubsequences: false).dropLast().contains { before in
            // What stands between the mark and the name belongs to the mark.
            guard let attributes = before.split(separator: "@Test", omittingEmptySubsequences: false).dropFirst().last
            else { return false }
            return !attributes.contains("func ") && !attributes.contains(".disabled")
        }
    }
}
