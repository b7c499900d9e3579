import TestSupport
import Testing

@testable import CloacinaPostgres

/// What libpq would misread is refused, without repeating it (C37, L2).
@Suite struct ConnectionStringTests {
    private func refusal(_ connectionString: String) -> PostgresError? {
        do throws(PostgresError) {
            try Connector.check(connectionString)
            return nil
        } catch {
            return error
        }
    }

    @Test(
        "C37: a parameter of another client's is named before connecting",
        arguments: [
            ("schema=public", "schema"), ("pgbouncer=true&connection_limit=1", "pgbouncer"),
            ("sslmode=no-verify", "sslmode"), ("search_path=public", "search_path"), ("ssl=yes", "ssl"),
            ("sslmode=require&colour=red", "colour"), ("connect_timeout=soon", "connect_timeout"),
            ("target_session_attrs=write", "target_session_attrs"), ("port=x", "port"), ("%73chema=a", "schema"),
            ("application_name=a&statement_timeout=5", "statement_timeout"),
        ])
    func aStrangersParameterIsNamed(query: String, name: String) throws {
        for url in ["postgresql://adm@h:5432/app?\(query)", "postgres://h?\(query)", "postgresql:///?\(query)"] {
            let error = try #require(self.refusal(url))
            #expect(error.code == .invalidConnectionString)
            #expect(error.advice?.contains(name) == true, "\(error)")
        }
    }

    @Test(
        "C37: and in a keyword string",
        arguments: [
            ("host=h schema=x", "schema"), ("sslmode = 'no-verify' host=h", "sslmode"), ("colour=red", "colour"),
            ("port=70000", "port"), ("keepalives_idle=never", "keepalives_idle"),
        ])
    func aStrangersKeywordIsNamed(connectionString: String, name: String) throws {
        let error = try #require(self.refusal(connectionString))
        #expect(error.code == .invalidConnectionString)
        #expect(error.advice?.contains(name) == true, "\(error)")
    }

    @Test(arguments: [
        "", "postgresql://", "postgresql:///app", "postgresql://adm:p%40ss@h:5432/app?sslmode=require&ssl=true",
        "postgres://adm:a:b?c#d=e&f@h1:5432,h2:5433/app?target_session_attrs=read-write",
        "postgresql://[::1]:5432/app?connect_timeout=5", "postgresql://adm@h/app?application_name=a@b",
        "postgresql:///app?user=adm@server&host=h", "postgresql://%2Frun%2Fpostgresql/app",
        "host=h dbname='my app' user=adm password='a b\\'c' port=5432,", "host = h  port = 5432", "sslmode=''",
        "ssl_min_protocol_version=TLSV1.2", "postgresql://adm:a%2Fb@h/app?options=-csearch_path%3Dx",
    ])
    func whatLibpqReadsAsItWasMeantPasses(connectionString: String) {
        #expect(self.refusal(connectionString) == nil)
    }

    @Test(
        "L2: a password that is not encoded is refused and not repeated",
        arguments: [
            "postgresql://adm:s3cr3t/5@x/y", "postgresql://adm:p@s3cr3t@127.0.0.1/app",
            "postgresql://adm:12/s3cr3t@h/d",
            "postgresql://adm:12?user=/s3cr3t@h/d", "postgresql://adm:1/x?s3cr3t=1@h/d",
            "postgresql://adm:a@b?application_name=s3cr3t@h/d", "postgresql://adm:%zzs3cr3t@h/d",
            "postgresql://h/d?password=a&s3cr3t=b", "postgresql://h/d?password=a&s3cr3t",
            "host=h password=a s3cr3t=b", "host=h password=a s3cr3t", "host=h password='s3cr3t",
            "host=h password=x host=s3cr3t",
            "mysql://adm:s3cr3t@h/d?a=b", "adm:s3cr3t=@h",
        ])
    func aPasswordThatIsNotEncodedIsNotRepeated(connectionString: String) throws {
        let error = try #require(self.refusal(connectionString))
        #expect(error.code == .invalidConnectionString)
        #expect(!String(reflecting: error).contains("s3c"))
        #expect(!String(reflecting: error).contains("r3t"))
    }

    /// Some of a URL with a random password is refused, the rest is read as it was meant: no piece of the password becomes a host,
    /// a port, a database or a parameter that a later message could quote.
    @Test("L2: no piece of any password becomes a host, a port or a database", arguments: 0..<40)
    func noPieceOfAPasswordBecomesAnythingElse(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        // Half of it from what is special to a URL.
        let special = Array("@@//::?&=#%+, '\\[]".utf8)
        for _ in 0..<200 {
            let length = Int.random(in: 1...24, using: &random)
            let bytes = (0..<length).map { _ in
                Bool.random(using: &random)
                    ? special[Int.random(in: special.indices, using: &random)]
                    : UInt8.random(in: 33...126, using: &random)
            }
            let password = String(decoding: bytes, as: UTF8.self)
            let tail = ["127.0.0.1:6543/app", "db.example/app?sslmode=require", "[::1]:6543/app"].randomElement(
                using: &random)
            let url = "postgresql://adm:\(password)@\(tail ?? "")"
            if let error = self.refusal(url) {
                #expect(error.code == .invalidConnectionString)
                self.expectNoPiece(of: password, in: error)
                continue
            }
            guard let list = ConnectionOptionList(parsing: url) else {
                Issue.record("libpq refuses what passed: \(url)")
                continue
            }
            let options = list.options
            func value(_ name: String) -> String? { options.first { $0.name == name }?.value }
            #expect(["127.0.0.1", "db.example", "::1"].contains(value("host")), "\(url)")
            #expect([nil, "6543"].contains(value("port")), "\(url)")
            #expect(value("dbname") == "app", "\(url)")
            #expect(value("user") == "adm", "\(url)")
        }
    }

    /// Our sentences are the same for every password: what they say without one is no piece of it.
    private func expectNoPiece(of password: String, in error: PostgresError) {
        let said = String(reflecting: error)
        let fixed = [
            "postgresql://adm:a@b@h", "postgresql://adm:%zz@h", "postgresql://adm:a@h?x=1",
            "postgresql://a@h?password=a&b=1",
            "postgresql://a@h:x", "postgresql://h/d?sslmode=x",
        ].compactMap { self.refusal($0) }.map { String(reflecting: $0) }
        #expect(fixed.contains(said), "\(said)")
    }

    @Test(
        "X6: libpq's own complaint is for good or may pass",
        arguments: [
            (
                "connection to server at \"h\" (::1), port 1 failed: server does not support SSL, but SSL was required",
                true
            ),
            ("connection to server failed: fe_sendauth: no password supplied", true),
            ("SSL error: certificate verify failed", true), ("definition of service \"x\" not found", true),
            ("connection to server failed: Connection refused", false),
            ("could not translate host name \"h\" to address: Temporary failure in name resolution", false),
            ("server closed the connection unexpectedly", false), ("timeout expired", false),
        ])
    func libpqsOwnComplaintIsForGoodOrMayPass(message: String, isPermanent: Bool) {
        #expect(LibpqComplaint.isPermanent(message) == isPermanent)
    }
}
