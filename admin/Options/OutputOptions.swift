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

extension OutputFormat {
    /// The format that a command line asks for, also when the rest of it makes no sense.
    static func asked(in arguments: [String]) -> OutputFormat {
        let options = arguments.prefix { $0 != "--" }
        var asked: Substring?
        for (option, value) in zip(options, options.dropFirst()) where option == "--output" { asked = value[...] }
        for option in options where option.hasPrefix("--output=") { asked = option.dropFirst("--output=".count) }
        return asked.flatMap { OutputFormat(rawValue: String($0)) } ?? .table
    }
}

/// The flag every command has.
struct OutputOptions: ParsableArguments {
    @Option(name: .long, help: "How the answer on standard output is written: table (for people), json or ndjson.")
    var output: OutputFormat = .table
}
