1254219120@C3/1D-02001-C6DD1CA4@B3/1D-02001-C6DD1CA4@90/00-02002-E6DD1CA4@T@"a\@b"@two.example@news@sender.example@default@outbound-1@0@70@1024@@451 4.7.1 greylisted
1254219120@C3/1D-02001-C6DD1CA4@B3/1D-02001-C6DD1CA4@90/00-02002-E6DD1CA4@B@"a\@b"@two.example@news@sender.example@default@outbound-1@5@10@1024@198.51.100.9@550 5.1.1 no such user see https://two.example/@help
