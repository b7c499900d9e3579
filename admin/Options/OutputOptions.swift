import ArgumentParser

/// How answers are printed.
enum OutputFormat: String, ExpressibleByArgument, CaseIterable, Sendable {
    /// Aligned columns for people.
    case table
    /// One indented JSON value.
    case json
    /// One JSON object a line.
    case ndjson
}

/// The flag every command has.
struct OutputOptions: ParsableArguments {
    @Option(name: .long, help: "How the answer on standard output is written: table, json or ndjson.")
    var output: OutputFormat = .table
}
