import ArgumentParser
import FoundationEssentials
import Testing

@testable import cloacina_admin

@Suite struct DevelopmentServerTests {
    @Test(arguments: [
        ("log_statement=all", "log_statement", "all"), ("Work_Mem=4MB", "work_mem", "4MB"),
        ("search_path=a=b", "search_path", "a=b"), ("auto_explain.log_nested=", "auto_explain.log_nested", ""),
    ])
    func aSettingIsANameAndAValue(_ argument: String, _ name: String, _ value: String) {
        #expect(ServerSetting(argument: argument) == ServerSetting(name, value))
    }

    @Test(arguments: ["", "x", "=1", "a b=1", "a;b=1", "-c=1", "a=1\nb=2"])
    func whatIsNoSettingIsRefused(_ argument: String) {
        #expect(ServerSetting(argument: argument) == nil)
    }

    @Test(arguments: ServerSetting.reserved.sorted())
    func whatKeepsTheServerPrivateCannotBeSet(_ name: String) {
        #expect(throws: (any Error).self) { try DevStart.parse(["--setting", "\(name)=x"]) }
        #expect(failure { _ = try DevelopmentServer(settings: [ServerSetting(name, "x")]) }?.status == .usage)
    }

    @Test func startTakesItsOptions() throws {
        let start = try DevStart.parse([
            "--directory", "d", "--postgres-bin", "b", "--setting", "log_statement=all", "--setting", "port_x=1",
            "--output", "json",
        ])
        #expect(start.server.directory == "d")
        #expect(start.postgresBin == "b")
        #expect(start.settings == [ServerSetting("log_statement", "all"), ServerSetting("port_x", "1")])
        #expect(start.output.output == .json)
        #expect(try DevStart.parse([]).server.directory == ".cloacina/postgres")
    }

    @Test(arguments: [
        ("a/b", "/w/a/b"), ("/x//y/", "/x/y"), ("../z", "/z"), ("./a/../b", "/w/b"), ("/../..", "/"),
    ])
    func pathsBecomeAbsolute(_ path: String, _ absolute: String) {
        #expect(ServerLayout.absolute(path, in: "/w") == absolute)
    }

    @Test func theServerLivesWhereItWasAskedFor() throws {
        let layout = try ServerLayout(asked: "/work/p/.cloacina/postgres", userID: 1, canReach: { _ in true })
        #expect(layout.home == "/work/p/.cloacina/postgres")
        #expect(layout.socketDirectory == "/work/p/.cloacina/postgres/run")
        #expect(!layout.isRelocated)
    }

    @Test func aPlaceItsUserCannotReachMovesToTheSameOtherPlaceEveryTime() throws {
        func home(_ asked: String) throws -> String {
            try ServerLayout(asked: asked, userID: 1, canReach: { !$0.hasPrefix("/root") }).home
        }
        #expect(try home("/root/p").hasPrefix("/var/tmp/cloacina-"))
        #expect(try home("/root/p") == home("/root/p"))
        #expect(try home("/root/p") != home("/root/q"))
        #expect(
            failure { _ = try ServerLayout(asked: "/a", userID: 1, canReach: { _ in false }) }?.status == .privileges)
    }

    @Test(arguments: [
        ("/tmp/short", true), ("/tmp/" + String(repeating: "x", count: 83), true),
        ("/tmp/" + String(repeating: "x", count: 84), false), ("/tmp/a,b", false), ("/tmp/a b", false),
        ("/tmp/\"a\"", false), ("/tmp/ü", false),
    ])
    func aSocketDirectoryIsShortAndPlain(_ directory: String, _ isUsable: Bool) {
        #expect(ServerLayout.isUsableForSockets(directory) == isUsable)
    }

    @Test(arguments: [
        (UInt32(0), UInt32(0), UInt32(0o755), true), (0, 0, 0o700, false), (7, 0, 0o700, true), (7, 8, 0o077, false),
        (0, 8, 0o710, true), (0, 8, 0o701, false),
    ])
    func aUserPassesADirectoryByItsMode(_ owner: UInt32, _ group: UInt32, _ mode: UInt32, _ passes: Bool) {
        let account = ServerAccount(name: "postgres", userID: 7, groupID: 8)
        #expect(account.mayPass(owner: owner, group: group, mode: mode) == passes)
    }

    @Test func postmastersFileIsRead() throws {
        let text = "4711\n/p/data\n1795000000\n54321\n/p/run\n127.0.0.1\n  1234   5\nready   \n"
        let file = try #require(PostmasterFile(text))
        #expect(file.pid == 4711)
        #expect(file.dataDirectory == "/p/data")
        #expect(file.port == 54321)
        #expect(file.isReady)
        #expect(PostmasterFile(text.replacing("ready   ", with: "starting"))?.isReady == false)
        #expect(PostmasterFile("4711\n/p/data\n")?.isReady == false)
    }

    @Test(arguments: ["", "4711", "4711\n\n", "x\n/p/data\n", "-2147483648\n/p/data\n", "2147483648\n/p/data\n"])
    func anUnfinishedPostmastersFileIsNoServer(_ text: String) {
        #expect(PostmasterFile(text) == nil)
    }

    static let stat = "4711 (a) b (c) S 1 4711 4711 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2 3"

    @Test func processFactsSurviveAnOddName() throws {
        let facts = try #require(ProcessFacts(stat: Self.stat, commandLine: "x\0", workingDirectory: nil))
        #expect(facts.state == "S")
        #expect(facts.start == 987_654)
    }

    @Test(arguments: [
        ("/usr/lib/postgresql/15/bin/postgres\0-D\0/p/data\0-c\0port=1\0", "/p/data", true),
        ("postgres: checkpointer \0", "/p/data", false),
        ("/usr/bin/postgres\0-D\0/other/data\0", "/p/data", false),
        ("/usr/bin/postgres\0-D\0/p/data\0", "/other", false),
        ("/usr/bin/vim\0-D\0/p/data\0", "/p/data", false),
        ("/usr/bin/postgres\0-D", "/p/data", false),
        ("", "/p/data", false),
    ])
    func onlyOurOwnPostmasterCounts(_ commandLine: String, _ workingDirectory: String, _ counts: Bool) throws {
        let facts = try #require(
            ProcessFacts(stat: Self.stat, commandLine: commandLine, workingDirectory: workingDirectory))
        #expect(facts.isPostmaster(of: "/p/data") == counts)
    }

    @Test func aCorpseIsNoServer() throws {
        let facts = try #require(
            ProcessFacts(
                stat: Self.stat.replacing(" S ", with: " Z "), commandLine: "/bin/postgres\0-D\0/p/data\0",
                workingDirectory: "/p/data"))
        #expect(!facts.isAlive)
        #expect(!facts.isPostmaster(of: "/p/data"))
    }

    @Test(arguments: [
        ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n", "15.18", 15),
        ("postgres (PostgreSQL) 18.6\n", "18.6", 18), ("postgres (PostgreSQL) 19beta1\n", "19beta1", 19),
    ])
    func theVersionIsReadFromTheProgramsAnswer(_ output: String, _ version: String, _ major: Int) {
        #expect(PostgresBinaries.version(in: output) == version)
        #expect(PostgresBinaries.majorVersion(of: version) == major)
    }

    @Test func theNewestInstalledProgramsAreChosenUnlessDataOrOptionSayOtherwise() throws {
        try withTemporaryDirectory { root in
            for version in ["9", "15", "18", "broken"] {
                let bin = "\(root)/\(version)/bin"
                try FileManager.default.createDirectory(atPath: bin, withIntermediateDirectories: true)
                for program in ["initdb", "postgres"] {
                    try PrivateFile.create("\(bin)/\(program)", holding: [])
                    try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: "\(bin)/\(program)")
                }
            }
            func found(_ asked: String?, _ major: Int?, path: String = "") throws -> String {
                try PostgresBinaries.find(asked: asked, preferring: major, root: root, path: path).directory
            }
            #expect(try found(nil, nil) == root + "/18/bin")
            #expect(try found(nil, 15) == root + "/15/bin")
            #expect(try found(nil, 17) == root + "/18/bin")
            #expect(try found(root + "/9/bin", 18) == root + "/9/bin")
            #expect(failure { _ = try found("/nowhere", nil) }?.status == .usage)
            let onThePath = try PostgresBinaries.find(
                asked: nil, preferring: nil, root: "/nowhere", path: "/nothing:\(root)/9/bin")
            #expect(onThePath.directory == root + "/9/bin")
            #expect(
                failure { _ = try PostgresBinaries.find(asked: nil, preferring: nil, root: "/no", path: "") } != nil)
        }
    }

    @Test func theStateFileKeepsTheSecretsAcrossStarts() throws {
        let secrets = try ServerSecrets.make()
        #expect(secrets.administrator != secrets.superuser)
        let state = ServerState(
            pid: 1, processStart: 2, port: 3, directory: "/d", dataDirectory: "/d/data", socketDirectory: "/d/run",
            log: "/d/server.log", url: secrets.administratorURL(port: 3), superuserUrl: secrets.superuserURL(port: 3),
            version: "18.6", postgresBin: "/b")
        let copy = try JSONDecoder().decode(ServerState.self, from: JSONEncoder().encode(state))
        #expect(copy == state)
        #expect(ServerSecrets(copy) == secrets)
        #expect(state.url == "postgresql://cloacina_admin:\(secrets.administrator)@127.0.0.1:3/cloacina")
    }

    @Test(arguments: [14, 15, 18])
    func theServerGetsVerifiersInsteadOfPasswords(_ majorVersion: Int) throws {
        let secrets = try ServerSecrets.make()
        let script = try secrets.script(majorVersion: majorVersion, isNew: true)
        #expect(!script.contains(secrets.administrator))
        #expect(!script.contains(secrets.superuser))
        #expect(script.contains("CREATE ROLE cloacina_admin LOGIN CREATEROLE PASSWORD 'SCRAM-SHA-256$"))
        #expect(script.contains("CREATE DATABASE cloacina OWNER cloacina_admin;\n"))
        #expect(script.contains("pg_database_owner") == (majorVersion < 15))
        #expect(try !secrets.script(majorVersion: majorVersion, isNew: false).contains("CREATE ROLE"))
    }

    @Test func theServersProgramsInheritNothingThatPointsElsewhere() {
        let environment = ChildProcess.environment(
            for: PostgresBinaries(directory: "/opt/pg/bin"),
            inheriting: ["PGDATA": "/var/lib/postgresql", "PGPORT": "1", "PATH": "/bin", "LD_LIBRARY_PATH": "/l"])
        #expect(environment == ["PATH": "/bin", "LC_ALL": "C", "LD_LIBRARY_PATH": "/l:/opt/pg/lib"])
        let system = ChildProcess.environment(
            for: PostgresBinaries(directory: "/usr/lib/postgresql/15/bin"), inheriting: ["PATH": "/bin"])
        #expect(system == ["PATH": "/bin", "LC_ALL": "C"])
    }

    @Test func theAnswerOfStartIsOneStableObject() throws {
        let state = ServerState(
            pid: 12, processStart: 2, port: 3, directory: "/d", dataDirectory: "/d/data", socketDirectory: "/d/run",
            log: "/d/server.log", url: "postgresql://a:b@127.0.0.1:3/cloacina",
            superuserUrl: "postgresql://postgres:c@127.0.0.1:3/postgres", version: "18.6", postgresBin: "/b",
            settings: ["work_mem=8MB"])
        #expect(
            try Renderer.json(ServerAnswer(state), indented: false) == """
                {"dataDirectory":"/d/data","directory":"/d","log":"/d/server.log","pid":12,"port":3,"postgresBin":"/b",\
                "running":true,"settings":["work_mem=8MB"],"socketDirectory":"/d/run",\
                "superuserUrl":"postgresql://postgres:c@127.0.0.1:3/postgres",\
                "url":"postgresql://a:b@127.0.0.1:3/cloacina","version":"18.6"}
                """)
        #expect(ServerAnswer.headings.count == ServerAnswer(state).cells.count)
    }

    private static func setting(_ text: String) throws -> ServerSetting { try #require(ServerSetting(argument: text)) }

    @Test(
        "C38: kept settings give way to those of the same name",
        arguments: [
            (["a=1"], ["b=2"], ["a=1", "b=2"]), (["a=1", "b=2"], ["a=3"], ["b=2", "a=3"]),
            ([], ["a=1", "a=2"], ["a=2"]),
            (["a=1"], [], ["a=1"]),
        ])
    func keptSettingsGiveWayToThoseOfTheSameName(kept: [String], new: [String], merged: [String]) throws {
        #expect(
            try ServerSetting.merged(kept.map(Self.setting), new.map(Self.setting)).map(\.text) == merged)
    }

    @Test("C38: what the state file keeps is read back, and nothing that would open the server")
    func whatTheStateFileKeepsIsReadBack() throws {
        var state = ServerState(
            port: 3, directory: "/d", dataDirectory: "/d/data", socketDirectory: "/d/run", log: "/l", url: "u",
            superuserUrl: "s", version: "18.6", postgresBin: "/b")
        #expect(state.keptSettings.isEmpty)
        state.settings = ["max_connections=77", "auto_explain.log_nested=", "listen_addresses=*", "nonsense"]
        let copy = try JSONDecoder().decode(ServerState.self, from: JSONEncoder().encode(state))
        #expect(copy.keptSettings.map(\.text) == ["max_connections=77", "auto_explain.log_nested="])
    }

    @Test func oneProcessHoldsTheLockAtATime() async throws {
        let directory = FileManager.default.temporaryDirectory.path
        let path = directory + "/cloacina-lock-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: path) }
        let lock = try await FileLock.acquire(path, patience: .seconds(1), onWait: {})
        await #expect(throws: CommandError.self) {
            _ = try await FileLock.acquire(path, patience: .zero, onWait: {})
        }
        lock.release()
        let second = try await FileLock.acquire(path, patience: .zero, onWait: {})
        second.release()
    }
}
