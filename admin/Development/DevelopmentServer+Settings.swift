import FoundationEssentials

extension DevelopmentServer {
    /// The settings that a start uses: those of earlier starts, and over them those of this one.
    func effectiveSettings() -> [ServerSetting] {
        let kept = self.forgetsSettings ? [] : self.savedState()?.keptSettings ?? []
        return ServerSetting.merged(kept, self.settings)
    }

    /// Keeps settings for the next start of a server that runs, and says so; the state as it is kept then.
    func keepSettings(in state: ServerState) throws -> ServerState {
        let settings = self.effectiveSettings()
        guard settings != state.keptSettings else { return state }
        var state = state
        state.settings = settings.map(\.text)
        try self.save(state)
        self.report(
            "it runs already and was left alone; kept for every later start, first after dev stop and dev start: "
                + (settings.isEmpty ? "no settings" : settings.map(\.text).joined(separator: ", ")))
        return state
    }
}

extension ServerState {
    /// The settings of earlier starts, without those that no start may use.
    var keptSettings: [ServerSetting] {
        (self.settings ?? []).compactMap(ServerSetting.init(argument:)).filter {
            !ServerSetting.reserved.contains($0.name)
        }
    }
}
