// SPDX-License-Identifier: GPL-3.0-or-later
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Multicall} from "@openzeppelin/contracts/utils/Multicall.sol";
import {Agreements} from "./Agreements.sol";
import {Claims} from "./Claims.sol";
import {Disputes} from "./Disputes.sol";
import {Jobs, Windows} from "./Jobs.sol";
import {StakeVault} from "./StakeVault.sol";

/// @title Render market
/// @notice Escrow of jobs, for one token. It makes its own stake vault and disputes contract, and none of the three
/// has an owner, a proxy or a setting that can change: nobody can move funds but by the rules written here.
/// Several calls fit in one transaction (`multicall`).
contract RenderMarket is Jobs, Agreements, Claims, Multicall {
    StakeVault public immutable vault;
    Disputes public immutable disputes;

    /// @param token_ a plain ERC-20: no fee on transfer, no rebasing, no callbacks
    constructor(IERC20 token_, Windows memory windows) Jobs(token_, windows) {
        disputes = new Disputes(this, windows.slash);
        vault = new StakeVault(token_, address(this), address(disputes), windows.unbonding);
    }

    function _vault() internal view override returns (StakeVault) {
        return vault;
    }

    function _disputes() internal view override returns (address) {
        return address(disputes);
    }
}
