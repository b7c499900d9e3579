import ArgumentParser
import CloacinaWorkflow
import FoundationEssentials
import Glibc

/// How a graph is drawn.
enum DrawingFormat: String, ExpressibleByArgument, CaseIterable, Sendable {
    /// Graphviz's language.
    case dot
    /// A flowchart for Markdown.
    case mermaid
    /// A picture.
    case svg
    /// A table with a line for each task, level by level.
    case text
}

/// A definition in a file, and how it is drawn.
struct DrawingOptions: ParsableArguments {
    /// How an application writes what these commands read.
    static let howToWrite = """
        The definition is JSON that the application writes from its workflow:

          let json = try JSONEncoder().encode(WorkflowGraph(workflow))
          try json.write(to: URL(filePath: "billing.json"))

        It holds the names of the workflow and its tasks and what depends on what, and none of the code. A definition that \
        no workflow could have, such as a circle, is refused.

        With --output json or ndjson the answer is one object: the graph, the format and the drawing as a string.
        """

    /// No graph of a workflow comes near this.
    static let byteLimit = 64 << 20

    @Option(
        name: .long,
        help: ArgumentHelp("The workflow's definition as JSON; - is standard input.", valueName: "file"),
        completion: .file(extensions: ["json"]))
    var definition: String

    @Option(name: .long, help: "How it is drawn: dot, mermaid, svg or text.")
    var format: DrawingFormat = .text

    /// Reads the definition and checks it.
    ///
    /// - Throws: `CommandError`, or `WorkflowError` for what no workflow could be.
    func graph() throws -> WorkflowGraph {
        let graph = try Self.graph(of: try self.bytes(), named: self.name)
        try graph.validate()
        return graph
    }

    static func graph(of bytes: [UInt8], named name: String) throws -> WorkflowGraph {
        do {
            return try JSONDecoder().decode(WorkflowGraph.self, from: Data(bytes))
        } catch let error as DecodingError {
            throw CommandError(
                .failed, "\(name) is not a workflow's definition: \(Self.words(error))",
                hint: "write JSONEncoder().encode(WorkflowGraph(workflow))")
        }
    }

    private var name: String { self.definition == "-" ? "standard input" : self.definition }

    private func bytes() throws -> [UInt8] {
        let bytes: [UInt8]
        if self.definition == "-" {
            bytes = try FileDescriptor.readAll(STDIN_FILENO, limit: Self.byteLimit)
        } else {
            let descriptor = unsafe open(self.definition, O_RDONLY | O_CLOEXEC)
            guard descriptor >= 0 else { throw CommandError.system("can't read \(self.definition)", errno) }
            defer { close(descriptor) }
            bytes = try FileDescriptor.readAll(descriptor, limit: Self.byteLimit)
        }
        guard bytes.count < Self.byteLimit else {
            throw CommandError(.failed, "\(self.name) is larger than \(Self.byteLimit >> 20) MiB")
        }
        return bytes
    }

    /// Where in the file, and what is wrong there; never a value.
    private static func words(_ error: DecodingError) -> String {
        func place(_ context: DecodingError.Context, _ last: (any CodingKey)? = nil) -> String {
            let keys = context.codingPath + [last].compactMap { $0 }
            guard !keys.isEmpty else { return "" }
            return " at " + keys.map { key in key.intValue.map { "[\($0)]" } ?? key.stringValue }.joined(separator: ".")
        }
        return switch error {
        case .keyNotFound(let key, let context): "nothing\(place(context, key))"
        case .typeMismatch(_, let context), .valueNotFound(_, let context):
            "a value of another type\(place(context))"
        case .dataCorrupted(let context): "no JSON or an impossible value\(place(context))"
        @unknown default: "it can't be decoded"
        }
    }
}
