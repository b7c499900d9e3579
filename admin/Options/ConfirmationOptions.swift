import ArgumentParser

/// The name of what a destructive command destroys, said twice.
struct ConfirmationOptions: ParsableArguments {
    @Option(
        name: .long,
        help: ArgumentHelp("The tenant's name once more; without it a terminal asks for it.", valueName: "name"))
    var confirm: String?

    /// Lets pass what was confirmed.
    ///
    /// - Throws: ``CommandError`` of status ``CommandStatus/usage`` when the names differ, or nobody can be asked.
    func check(_ name: String, console: Console) throws {
        if let confirm = self.confirm {
            guard confirm == name else {
                throw CommandError(.usage, "--confirm says \(confirm), the tenant is \(name); nothing was changed")
            }
            return
        }
        let answer = try console.ask("Type the tenant's name to remove it for ever:", orPass: "--confirm \(name)")
        guard answer == name else {
            throw CommandError(.usage, "that is not the tenant's name; nothing was changed")
        }
    }
}

/// Yes, in advance. Every command that changes something takes it, so that scripts need not know which would ask.
struct AssentOptions: ParsableArguments {
    @Flag(
        name: .long, help: "Answer yes to what a terminal would be asked; a name to confirm is asked for all the same.")
    var yes = false

    /// Lets pass what was agreed to.
    ///
    /// - Throws: ``CommandError`` of status ``CommandStatus/usage`` when the answer is no, or nobody can be asked.
    func check(_ question: String, console: Console) throws {
        if self.yes { return }
        let answer = try console.ask("\(question) [y/N]", orPass: "--yes").lowercased()
        guard answer == "y" || answer == "yes" else {
            throw CommandError(.usage, "not agreed to; nothing was changed")
        }
    }
}

/// Looking without touching.
struct RehearsalOptions: ParsableArguments {
    @Flag(name: .long, help: "Print the SQL that would run, secrets masked, and change nothing.")
    var dryRun = false
}
