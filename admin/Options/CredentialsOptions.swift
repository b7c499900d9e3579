import ArgumentParser

/// Where a new secret goes.
struct CredentialsOptions: ParsableArguments {
    @Option(
        name: .long,
        help: ArgumentHelp(
            "Write the new credentials as JSON to this file, made with mode 0600.",
            discussion:
                "A file that exists is refused. Without this option the secret is shown once, on a terminal only.",
            valueName: "file"),
        completion: .file())
    var credentialsFile: String?

    /// Where a secret is allowed to go.
    enum Destination: Equatable {
        case file(String)
        case terminal
        /// The operator supplied it, so there is nothing to hand over.
        case nowhere
    }

    /// Decides before anything is created.
    ///
    /// - Throws: ``CommandError`` of status ``CommandStatus/usage`` when the secret would end up in a pipe or a log.
    func destination(isSupplied: Bool, console: Console) throws -> Destination {
        if let path = self.credentialsFile { return .file(path) }
        if isSupplied { return .nowhere }
        guard console.standardOutputIsTerminal else {
            throw CommandError(
                .usage, "standard output is not a terminal, and the new password is shown nowhere else",
                hint: "pass --credentials-file FILE")
        }
        return .terminal
    }
}
