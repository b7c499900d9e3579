import ArgumentParser
import Cloacina
import FoundationEssentials

/// Whose runs.
struct TenantOptions: ParsableArguments {
    @Option(name: .long, help: ArgumentHelp("The tenant's name.", valueName: "name"))
    var tenant: String
}

/// The id of a pipeline on a command line.
struct PipelineID: Hashable, Sendable {
    let value: UUID

    /// - Throws: `ValidationError` that says what is expected.
    init(parsing argument: String) throws {
        guard let value = UUID(uuidString: argument) else {
            throw ValidationError("write all 36 letters of the id, as `execution list` shows it")
        }
        self.value = value
    }
}

/// A pipeline's state on a command line.
struct PipelineState: ExpressibleByArgument, Hashable, Sendable {
    static var allValueStrings: [String] { PipelineStatus.allCases.map(\.rawValue) }

    let value: PipelineStatus

    init?(argument: String) {
        guard let value = PipelineStatus(rawValue: argument) else { return nil }
        self.value = value
    }
}

extension UUID {
    /// The id as it is written everywhere: in lower case.
    var text: String { self.uuidString.lowercased() }
}
