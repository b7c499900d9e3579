import Testing

@testable import cloacina_admin

@Suite struct RenderingTests {
    struct Row: Renderable {
        let name: String
        let schema: String
        let version: Int
        let note: String?

        static let headings = ["name", "schema", "version", "note"]
        var cells: [String] { [self.name, self.schema, String(self.version), self.note ?? "-"] }
    }

    static let rows = [
        Row(name: "acme", schema: "tenant_acme", version: 3, note: nil),
        Row(name: "müller-söhne", schema: "a/b", version: 12, note: "x"),
    ]

    func printed(_ format: OutputFormat, _ body: (Renderer) throws -> Void) rethrows -> String {
        let collector = Collector()
        try body(Renderer(collector.console(terminal: false), format))
        return collector.data
    }

    @Test func aTableHasOneLineOfHeadingsAndAlignedColumns() throws {
        #expect(
            try self.printed(.table) { try $0.show(Self.rows) } == """
                name          schema       version  note
                acme          tenant_acme  3        -
                müller-söhne  a/b          12       x

                """)
    }

    @Test func aLongCellIsWholeAndWidensNoOtherLine() {
        let long = String(repeating: "x", count: 10_000)
        let lines = TextTable(["a", "b"], rows: [["1", "2"], [long, "3"], [String(long.prefix(79)), "4"]]).text
            .split(separator: "\n").map(String.init)
        #expect(lines[2] == long + "  3")
        #expect(lines.map(\.count) == [83, 83, 10_003, 83])
    }

    @Test func jsonOfAListIsAnArrayWithSortedKeys() throws {
        #expect(
            try self.printed(.json) { try $0.show(Self.rows) } == """
                [
                  {
                    "name" : "acme",
                    "schema" : "tenant_acme",
                    "version" : 3
                  },
                  {
                    "name" : "müller-söhne",
                    "note" : "x",
                    "schema" : "a/b",
                    "version" : 12
                  }
                ]

                """)
    }

    @Test func ndjsonIsOneObjectALine() throws {
        #expect(
            try self.printed(.ndjson) { try $0.show(Self.rows) } == """
                {"name":"acme","schema":"tenant_acme","version":3}
                {"name":"müller-söhne","note":"x","schema":"a/b","version":12}

                """)
    }

    @Test func oneAnswerIsOneObjectOrNamesBesideValues() throws {
        #expect(
            try self.printed(.ndjson) { try $0.show(Self.rows[0]) }
                == "{\"name\":\"acme\",\"schema\":\"tenant_acme\",\"version\":3}\n")
        #expect(
            try self.printed(.table) { try $0.show(Self.rows[0]) } == """
                name     acme
                schema   tenant_acme
                version  3
                note     -

                """)
    }

    @Test(arguments: [(OutputFormat.table, "name  schema  version  note\n"), (.json, "[\n\n]\n"), (.ndjson, "")])
    func anEmptyListStaysAList(_ format: OutputFormat, _ text: String) throws {
        #expect(try self.printed(format) { try $0.show([Row]()) } == text)
    }

    @Test(arguments: [
        ("a\u{1b}[31mb", "a\\u{1b}[31mb"), ("a\nb", "a\\u{a}b"), ("a\u{202e}b", "a\\u{202e}b"), ("naïve 名", "naïve 名"),
    ])
    func aTableMakesTerminalCommandsVisible(_ text: String, _ shown: String) {
        #expect(TextTable(["x"], rows: [[text]]).rows == [[shown]])
    }
}
