import SwiftDiagnostics
import SwiftParser
import SwiftSyntax
import SwiftSyntaxMacroExpansion
import SwiftSyntaxMacros
import SwiftSyntaxMacrosGenericTestSupport
import Testing

@testable import CloacinaMacros

/// What the macros say about a source, and what it is when their fix-its are applied.
struct Expansion {
    static let macros: [String: MacroSpec] = [
        "Workflow": MacroSpec(type: WorkflowMacro.self), "Task": MacroSpec(type: TaskMacro.self),
    ]

    /// The source with everything expanded.
    let text: String
    /// Each as `line:column message`, followed by its notes and the titles of its fix-its.
    let diagnostics: [String]
    /// The source with every fix-it applied.
    let fixed: String

    init(of source: String) {
        let file = Parser.parse(source: source)
        let context = BasicMacroExpansionContext(sourceFiles: [file: .init(moduleName: "Test", fullFilePath: "a.swift")]
        )
        self.text =
            file.expand(macroSpecs: Self.macros) {
                BasicMacroExpansionContext(sharingWith: context, lexicalContext: $0.allMacroLexicalContexts())
            }.description
        self.diagnostics = context.diagnostics.map { Self.text(of: $0, in: context) }
        let changes = context.diagnostics.flatMap(\.fixIts).flatMap(\.changes)
        let edits = changes.compactMap { Self.edit($0, in: context) }.sorted { $0.start > $1.start }
        self.fixed = edits.reduce(source) { text, edit in
            let bytes = Array(text.utf8)
            return String(decoding: bytes[..<edit.start] + edit.text.utf8 + bytes[edit.end...], as: UTF8.self)
        }
    }

    private static func text(of diagnostic: Diagnostic, in context: BasicMacroExpansionContext) -> String {
        let notes = diagnostic.notes.map { note in
            " (\(self.place(of: note.node, at: note.position, in: context)) \(note.message))"
        }
        let fixIts = diagnostic.fixIts.map { " [\($0.message.message)]" }
        return self.place(of: diagnostic.node, at: diagnostic.position, in: context) + " " + diagnostic.message
            + notes.joined() + fixIts.joined()
    }

    private static func place(
        of node: Syntax, at position: AbsolutePosition, in context: BasicMacroExpansionContext
    ) -> String {
        let location = context.location(for: position, anchoredAt: node, fileName: "a.swift")
        return "\(location.line):\(location.column)"
    }

    private static func edit(
        _ change: FixIt.Change, in context: BasicMacroExpansionContext
    ) -> (start: Int, end: Int, text: String)? {
        guard case .replace(let old, let new) = change else { return nil }
        let start = context.location(for: old.position, anchoredAt: old, fileName: "a.swift").offset
        return (start, start + old.totalLength.utf8Length, new.description)
    }
}

/// Compares a source's expansion with what is expected, and records what differs.
func expectExpansion(
    of source: String, is expanded: String, fileID: StaticString = #fileID, filePath: StaticString = #filePath,
    line: UInt = #line, column: UInt = #column
) {
    assertMacroExpansion(
        source, expandedSource: expanded, macroSpecs: Expansion.macros,
        failureHandler: { failure in
            let location = failure.location
            Issue.record(
                Comment(rawValue: failure.message),
                sourceLocation: SourceLocation(
                    fileID: "\(location.fileID)", filePath: "\(location.filePath)", line: Int(location.line),
                    column: Int(location.column)))
        }, fileID: fileID, filePath: filePath, line: line, column: column)
}
