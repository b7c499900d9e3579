/// An option whose value is empty, as `--database-url "$NO_SUCH_SECRET"` comes to be: it never means that the option is not there.
enum EmptyOption {
    /// The first option of a command line that is given without a value.
    static func first(in arguments: [String]) -> String? {
        let arguments = arguments.prefix { $0 != "--" }
        for (option, value) in zip(arguments, arguments.dropFirst())
        where option.hasPrefix("--") && !option.contains("=") && value.isEmpty { return option }
        return arguments.first { $0.hasPrefix("--") && $0.hasSuffix("=") && $0.count(where: { $0 == "=" }) == 1 }
            .map { String($0.dropLast()) }
    }
}

extension CommandError {
    /// A refusal of an option or a variable that is there and says nothing.
    static func empty(_ name: String) -> CommandError {
        CommandError(
            .usage, "\(name) is set but empty; nothing was tried", hint: "give it a value, or leave it out altogether")
    }
}
